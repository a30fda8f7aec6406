//! Invalid requests are refused without a commit.

use proto::{
    Reason,
    money::v1::Money,
    payment::v1::ChargeRequest,
    status::{fields, reason},
};
use tonic::{Code, Status};

use super::{Shop, dollars, id, refused, request};

#[tokio::test]
async fn a_checkout_id_that_is_no_uuid_is_refused_by_every_method() {
    let shop = Shop::open().await;
    let simple = id().replace('-', "");
    let braced = format!("{{{}}}", id());
    for wrong in [
        "",
        "1",
        "not-a-uuid",
        &simple,
        &braced,
        &"f".repeat(36),
        "\u{0}",
        &"x".repeat(100_000),
        "чекаут",
    ] {
        let answers = [
            shop.charge(request(wrong, "pm_card_ok")).await,
            shop.refund(wrong).await,
            shop.get(wrong).await,
        ];
        for answer in answers {
            assert_invalid_field(&answer.unwrap_err(), "checkout_id");
        }
    }
    assert!(shop.commits().is_empty());
}

#[tokio::test]
async fn a_charge_without_a_valid_amount_is_refused() {
    let (shop, id) = (Shop::open().await, id());
    let charge = |amount| {
        shop.charge(ChargeRequest {
            amount,
            ..request(&id, "pm_card_ok")
        })
    };
    assert_invalid_field(&charge(None).await.unwrap_err(), "amount");
    for wrong in [0, -1, i64::MIN, i64::MAX, 100_000_000_000_000] {
        assert_invalid_field(&charge(Some(dollars(wrong))).await.unwrap_err(), "amount.minor_units");
    }
    for wrong in ["", "usd", "DOLLAR", "U$D", "€€€", "\0\0\0", "ZZZ", "XTS"] {
        let amount = Some(Money {
            currency_code: wrong.to_owned(),
            minor_units: 1,
        });
        assert_invalid_field(&charge(amount).await.unwrap_err(), "amount.currency_code");
    }
    assert!(shop.commits().is_empty());
}

#[tokio::test]
async fn an_invalid_payment_method_is_refused() {
    let (shop, id) = (Shop::open().await, id());
    for wrong in [
        "",
        "PM_CARD_OK",
        "pm card",
        "pm-card",
        "pm_card\n",
        "\0",
        "карта",
        "'; --",
        &"x".repeat(65),
    ] {
        assert_invalid_field(&shop.charge(request(&id, wrong)).await.unwrap_err(), "payment_method");
    }
    assert!(shop.commits().is_empty());
    let longest = refused(shop.charge(request(&id, &"x".repeat(64))).await);
    assert_eq!(longest, (Code::FailedPrecondition, Some(Reason::InvalidPaymentMethod)));
}

fn assert_invalid_field(status: &Status, field: &str) {
    assert_eq!(
        (status.code(), reason(status)),
        (Code::InvalidArgument, Some(Reason::InvalidArgument)),
        "{status:?}"
    );
    let fields = fields(status);
    assert_eq!(
        fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        [field]
    );
}
