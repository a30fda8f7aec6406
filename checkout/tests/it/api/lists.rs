//! Lists for operators.

use proto::{
    Reason,
    checkout::v1::{Checkout, CheckoutStatus, ListCheckoutsRequest},
    status,
};

use runtime::Tasks;

use super::shop::{Shop, paid_with, request};
use crate::fake_peers::{Fault, PeerCall};

#[tokio::test]
async fn checkouts_are_listed_page_by_page_oldest_first() {
    let shop = Shop::open().await;
    let mut bought = Vec::new();
    for n in 0..5 {
        bought.push(shop.buy(request(&format!("k{n}"))).await);
    }
    for (size, pages) in [(2, vec![2, 2, 1]), (5, vec![5]), (0, vec![5]), (i32::MAX, vec![5])] {
        let mut request = ListCheckoutsRequest {
            page_size: size,
            ..ListCheckoutsRequest::default()
        };
        let (mut seen, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let page = shop.list(request.clone()).await.unwrap();
            sizes.push(page.checkouts.len());
            seen.extend(page.checkouts);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(sizes, pages, "pages of {size}");
        assert_eq!(seen, bought);
    }
}

#[tokio::test]
async fn a_page_token_belongs_to_its_filter() {
    let shop = Shop::open().await;
    for n in 0..3 {
        shop.buy(request(&format!("k{n}"))).await;
    }
    let completed = ListCheckoutsRequest {
        status: CheckoutStatus::Completed.into(),
        page_size: 1,
        ..ListCheckoutsRequest::default()
    };
    let first = shop.list(completed.clone()).await.unwrap();
    let next = |token: &str| ListCheckoutsRequest {
        page_token: token.to_owned(),
        page_size: 2,
        ..completed.clone()
    };
    let good = next(&first.next_page_token);
    assert_eq!(shop.list(good.clone()).await.unwrap().checkouts.len(), 2);
    let other_status = ListCheckoutsRequest {
        status: CheckoutStatus::Failed.into(),
        ..good.clone()
    };
    let other_filter = ListCheckoutsRequest {
        needs_attention: true,
        ..good
    };
    // The format of an earlier version.
    let earlier = next(&first.checkouts[0].checkout_id);
    for request in [other_status, other_filter, earlier] {
        let refused = shop.list(request).await.unwrap_err();
        assert_eq!(status::refused(&refused), Some(Reason::InvalidArgument), "{refused:?}");
        assert_eq!(status::fields(&refused)[0].0, "page_token");
    }
}

#[tokio::test]
async fn checkouts_are_listed_by_status() {
    let shop = Shop::open().await;
    let completed = shop.buy(request("completed")).await;
    let failed = shop.buy(paid_with("failed", "pm_card_declined")).await;
    // Charged, and the outcome of Confirm is unknown.
    shop.peers.script(PeerCall::Confirm, [Some(Fault::NeverArrives)]);
    let pause = shop.peers.pause_before(PeerCall::Confirm);
    let buying = Tasks::new().spawn(shop.initiate(request("paid")));
    pause.reached().await;
    let of = |status: CheckoutStatus| ListCheckoutsRequest {
        status: status.into(),
        ..ListCheckoutsRequest::default()
    };
    let all = shop.list(of(CheckoutStatus::Unspecified)).await.unwrap().checkouts;
    assert_eq!(all.len(), 3);
    let paid = all[2].clone();
    assert_eq!(all[..2], [completed.clone(), failed.clone()]);
    for (status, expected) in [
        (CheckoutStatus::Completed, vec![completed]),
        (CheckoutStatus::Failed, vec![failed]),
        (CheckoutStatus::PaymentCompleted, vec![paid.clone()]),
        (CheckoutStatus::PaymentPending, vec![]),
        (CheckoutStatus::Initiated, vec![]),
        (CheckoutStatus::InventoryReserved, vec![]),
    ] {
        let listed = shop.list(of(status)).await.unwrap();
        assert_eq!(listed.checkouts, expected, "{status:?}");
        assert_eq!(listed.next_page_token, "");
    }
    pause.resume();
    let bought = buying.await.unwrap().unwrap().checkout.unwrap();
    assert_eq!(bought.checkout_id, paid.checkout_id);
}

#[tokio::test]
async fn a_checkout_is_listed_while_it_needs_attention() {
    let shop = Shop::open().await;
    shop.buy(request("other")).await;
    let attention = ListCheckoutsRequest {
        needs_attention: true,
        ..ListCheckoutsRequest::default()
    };
    let pause = shop.peers.pause_before(PeerCall::Confirm);
    let buying = Tasks::new().spawn(shop.initiate(request("stuck")));
    pause.reached().await;
    assert_eq!(shop.list(attention.clone()).await.unwrap().checkouts, []);
    let stuck = shop
        .list(ListCheckoutsRequest::default())
        .await
        .unwrap()
        .checkouts
        .remove(1);
    assert!(!stuck.needs_attention);
    shop.mark_needs_attention(&stuck.checkout_id).await;
    let expected = Checkout {
        needs_attention: true,
        ..stuck
    };
    assert_eq!(shop.list(attention.clone()).await.unwrap().checkouts, [expected]);
    pause.resume();
    let bought = buying.await.unwrap().unwrap().checkout.unwrap();
    assert_eq!(
        (bought.status(), bought.needs_attention),
        (CheckoutStatus::Completed, false)
    );
    assert_eq!(shop.list(attention).await.unwrap().checkouts, []);
}

#[tokio::test]
async fn an_invalid_list_request_is_refused() {
    let shop = Shop::open().await;
    let good = ListCheckoutsRequest::default;
    let cases = [
        (
            ListCheckoutsRequest {
                page_size: -1,
                ..good()
            },
            "page_size",
        ),
        (
            ListCheckoutsRequest {
                page_size: i32::MIN,
                ..good()
            },
            "page_size",
        ),
        (ListCheckoutsRequest { status: 7, ..good() }, "status"),
        (ListCheckoutsRequest { status: -1, ..good() }, "status"),
        (
            ListCheckoutsRequest {
                page_token: "next".to_owned(),
                ..good()
            },
            "page_token",
        ),
    ];
    for (request, field) in cases {
        let refused = shop.list(request).await.unwrap_err();
        assert_eq!(status::refused(&refused), Some(Reason::InvalidArgument), "{refused:?}");
        assert_eq!(status::fields(&refused)[0].0, field);
    }
}
