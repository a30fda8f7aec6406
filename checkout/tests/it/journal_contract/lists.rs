//! Lists of checkouts.

use checkout::{
    domain::{CheckoutId, Status},
    ports::{Filter, Journal, Record, Retry},
    saga::State,
};
use proto::Reason;

use super::fixture::{Fixture, HOUR, begun, driven, steps};
use crate::ledger::failure;

const ALL: Filter = Filter {
    status: None,
    needs_attention: false,
    after: None,
    limit: 100,
};

async fn ids(journal: &dyn Journal, filter: Filter) -> Vec<CheckoutId> {
    let found = journal.list(filter).await.unwrap();
    found.into_iter().map(|checkout| checkout.id).collect()
}

pub(super) async fn lists_come_in_pages_oldest_first(fixture: impl Fixture) {
    let journal = fixture.journal();
    assert_eq!(journal.list(ALL).await.unwrap(), []);
    let mut begun_ids = Vec::new();
    for n in 0..5 {
        begun_ids.push(begun(journal.as_ref(), &format!("k{n}"), HOUR).await.checkout.id);
    }
    assert_eq!(ids(journal.as_ref(), ALL).await, begun_ids);
    let mut page = Filter { limit: 2, ..ALL };
    let mut pages = Vec::new();
    loop {
        let found = ids(journal.as_ref(), page).await;
        let Some(last) = found.last() else { break };
        page.after = Some(*last);
        pages.push(found);
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(pages.concat(), begun_ids);
    assert_eq!(ids(journal.as_ref(), Filter { limit: 0, ..ALL }).await, []);
}

pub(super) async fn lists_are_filtered_by_status_and_by_need_of_attention(fixture: impl Fixture) {
    let journal = fixture.journal();
    let declined = || failure(Reason::CardDeclined);
    let mut record = steps([State::PaymentCompleted]);
    record.payment_id = Some("pay_1".to_owned());
    let states = [
        (steps([State::InventoryReserved]), Status::InventoryReserved),
        (steps([State::PaymentPending]), Status::PaymentPending),
        (record.clone(), Status::PaymentCompleted),
        (steps([State::Completed]), Status::Completed),
        (steps([State::Failed(declined())]), Status::Failed),
    ];
    for (record, status) in states {
        let claimed = begun(journal.as_ref(), status.name(), HOUR).await;
        let checkout = driven(journal.as_ref(), claimed, &record).await.checkout;
        let filter = Filter {
            status: Some(status),
            ..ALL
        };
        assert_eq!(journal.list(filter).await.unwrap(), [checkout], "{status:?}");
    }
    // Compensation is listed as the last step forward.
    let releasing = begun(journal.as_ref(), "releasing", HOUR).await;
    let releasing = driven(journal.as_ref(), releasing, &steps([State::Releasing(declined())])).await;
    record.steps.extend(steps([State::Refunding(declined())]).steps);
    let refunding = begun(journal.as_ref(), "refunding", HOUR).await;
    let refunding = driven(journal.as_ref(), refunding, &record).await;
    for (status, claimed) in [
        (Status::PaymentPending, releasing),
        (Status::PaymentCompleted, refunding),
    ] {
        let filter = Filter {
            status: Some(status),
            ..ALL
        };
        assert_eq!(ids(journal.as_ref(), filter).await[1..], [claimed.checkout.id]);
    }

    let attention = Filter {
        needs_attention: true,
        ..ALL
    };
    assert_eq!(ids(journal.as_ref(), attention).await, []);
    let stuck = begun(journal.as_ref(), "stuck", HOUR).await;
    let retry = Record {
        retry: Some(Retry {
            after: HOUR,
            attempts: 13,
            needs_attention: true,
        }),
        ..Record::default()
    };
    let stuck = driven(journal.as_ref(), stuck, &retry).await.checkout;
    assert_eq!(ids(journal.as_ref(), attention).await, [stuck.id]);
    let completed = Filter {
        status: Some(Status::Completed),
        ..attention
    };
    assert_eq!(ids(journal.as_ref(), completed).await, []);
}

pub(super) async fn a_row_that_cannot_be_read_leaves_the_rest_of_the_list(fixture: impl Fixture) {
    let journal = fixture.journal();
    let mut sound = Vec::new();
    for n in 0..6 {
        let claimed = begun(journal.as_ref(), &format!("k{n}"), HOUR).await;
        if n % 2 == 0 {
            fixture.spoil(claimed.checkout.id).await;
        } else {
            sound.push(claimed.checkout.id);
        }
    }
    assert_eq!(ids(journal.as_ref(), ALL).await, sound);
    assert_eq!(ids(journal.as_ref(), Filter { limit: 2, ..ALL }).await, sound[..2]);
}
