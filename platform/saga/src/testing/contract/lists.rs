//! Lists of sagas.

use crate::{
    Filter, Journal, SagaId,
    machine::{Machine, State},
    testing::{
        Sample,
        fixture::{HOUR, Journals, begun, driven, retry, steps},
    },
};

const ALL: Filter = Filter {
    status: None,
    needs_attention: false,
    after: None,
    limit: 100,
};

async fn ids<M: Machine>(journal: &dyn Journal<M>, filter: Filter) -> Vec<SagaId> {
    let found = journal.list(filter).await.unwrap();
    found.into_iter().map(|saga| saga.id).collect()
}

pub async fn lists_are_paged_oldest_first<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    assert_eq!(journal.list(ALL).await.unwrap(), []);
    let mut begun_ids = Vec::new();
    for n in 0..5 {
        begun_ids.push(begun(journal.as_ref(), &format!("k{n}"), HOUR).await.saga.id);
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

pub async fn lists_are_filtered_by_status_and_attention<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let all = [M::happy_path().split_off(1), M::other_states()].concat();
    let mut listed = Vec::new();
    for state in all {
        let claimed = begun(journal.as_ref(), state.name(), HOUR).await;
        listed.push(driven(journal.as_ref(), claimed, &steps([state])).await.saga);
    }
    for saga in &listed {
        let status = M::status(&saga.state, &saga.data);
        let filter = Filter {
            status: Some(status),
            ..ALL
        };
        let mut expected = listed.clone();
        expected.retain(|other| M::status(&other.state, &other.data) == status);
        assert_eq!(journal.list(filter).await.unwrap(), expected, "{status:?}");
    }
    let attention = Filter {
        needs_attention: true,
        ..ALL
    };
    assert_eq!(ids(journal.as_ref(), attention).await, []);
    let stuck = begun(journal.as_ref(), "stuck", HOUR).await;
    let stuck = driven(journal.as_ref(), stuck, &retry(HOUR, 13, true)).await.saga;
    assert_eq!(ids(journal.as_ref(), attention).await, [stuck.id]);
    let ended = Filter {
        status: Some(M::TABLE.final_states[0]),
        ..attention
    };
    assert_eq!(ids(journal.as_ref(), ended).await, []);
}

pub async fn a_corrupt_row_is_left_out_of_lists<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let mut sound = Vec::new();
    for n in 0..6 {
        let id = begun(journal.as_ref(), &format!("k{n}"), HOUR).await.saga.id;
        if n % 2 == 0 {
            fixture.corrupt(id).await;
        } else {
            sound.push(id);
        }
    }
    assert_eq!(ids(journal.as_ref(), ALL).await, sound);
    assert_eq!(ids(journal.as_ref(), Filter { limit: 2, ..ALL }).await, sound[..2]);
}
