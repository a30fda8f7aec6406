//! The documents against the interfaces: the saga's table, the calls, the requests.

use checkout::{
    domain::Failure,
    saga::{Call, Next, State, apply, next},
};
use prost::Message;
use prost_types::FileDescriptorSet;
use proto::Reason;
use saga::{Outcome, State as _};

use super::{assert_none, source::read};

fn failure() -> Failure {
    Failure {
        reason: Reason::OutOfStock,
        message: String::new(),
        shortages: Vec::new(),
    }
}

fn state(name: &str) -> Option<State> {
    State::from_parts(name, None).or_else(|| State::from_parts(name, Some(failure())))
}

/// What the machine does in a state, as the README of checkout writes it: next, done, refused.
fn written(state: &State) -> [String; 3] {
    let after = |outcome| match apply(state.clone(), outcome) {
        same if same == *state => "again".to_owned(),
        other => other.name().to_owned(),
    };
    match next(state) {
        Next::Call(call) => {
            let name = match call {
                Call::Reserve => "Reserve",
                Call::Hold => "Hold",
                Call::GiveBack => "GiveBack",
                Call::Charge => "Charge",
                Call::Confirm => "Confirm",
                Call::Release => "Release",
                Call::Refund => "Refund",
            };
            [
                name.to_owned(),
                after(Outcome::Done),
                after(Outcome::Refused(failure())),
            ]
        }
        Next::Intent(intent) => [
            "(record the intent)".to_owned(),
            intent.name().to_owned(),
            "–".to_owned(),
        ],
        Next::Wait(_) => ["(wait)".to_owned(), after(Outcome::Done), "–".to_owned()],
        Next::End => ["–".to_owned(), "–".to_owned(), "–".to_owned()],
    }
}

#[test]
fn the_table_of_the_saga_in_its_readme_is_the_saga() {
    let all = [
        "INITIATED",
        "INVENTORY_RESERVED",
        "CART_HELD",
        "PAYMENT_PENDING",
        "PAYMENT_COMPLETED",
        "REFUNDING",
        "GIVING_BACK",
        "RELEASING",
        "COMPLETED",
        "FAILED",
    ];
    let readme = read("checkout/README.md");
    let mut seen = Vec::new();
    let mut findings = Vec::new();
    for (number, line) in readme.lines().filter(|(_, line)| line.starts_with("| `")) {
        let cells: Vec<_> = line
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().replace('`', ""))
            .collect();
        let [name, call, done, refused, _known] = &cells[..] else {
            continue;
        };
        let Some(state) = state(name) else { continue };
        seen.push(name.clone());
        if [call, done, refused] != written(&state).each_ref() {
            findings.push(format!("checkout/README.md:{number}: {name} is {:?}", written(&state)));
        }
        assert_eq!(
            apply(state.clone(), Outcome::Unknown),
            state,
            "an unknown outcome moves nothing"
        );
    }
    assert_eq!(seen, all, "the rows of the saga's table");
    assert_none(&findings, "the table in checkout/README.md is the saga");
}

/// `(service, method)` of every call: `("cart.v1.CartService", "AddItem")`.
pub(crate) fn calls() -> Vec<(String, String)> {
    let interfaces = FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
    let mut calls = Vec::new();
    for file in &interfaces.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            let methods = service.method.iter().map(|method| method.name().to_owned());
            calls.extend(methods.map(|method| (name.clone(), method)));
        }
    }
    calls
}

#[test]
fn there_is_a_line_to_copy_for_every_call_on_every_port() {
    let ports = [
        ("product", 50051),
        ("cart", 50052),
        ("inventory", 50053),
        ("payment", 50054),
        ("orders", 50055),
        ("checkout", 50056),
        ("notification", 50057),
    ];
    let guide = read("CONTRIBUTING.md").text;
    let calls = calls();
    assert!(calls.len() > 20, "{calls:?}");
    let mut findings = Vec::new();
    for (service, method) in calls {
        let place = ports
            .iter()
            .find(|(name, _)| service.starts_with(&format!("{name}.v1")));
        let Some((_, port)) = place else {
            panic!("{service} has no port")
        };
        let end = format!("localhost:{port} {service}/{method}");
        if !guide
            .lines()
            .any(|line| line.starts_with("grpcurl -plaintext") && line.ends_with(&end))
        {
            findings.push(format!("CONTRIBUTING.md: has no grpcurl line that ends with `{end}`"));
        }
    }
    assert_none(
        &findings,
        "each call can be tried without reading its .proto file first",
    );
}

/// The paths of the REST interface that a text names, in order.
fn paths(text: &str) -> Vec<&str> {
    let begin = text.match_indices("/api/v1/").map(|(at, _)| &text[at..]);
    begin
        .map(|rest| rest.split(|c: char| !(c.is_alphanumeric() || c == '/')).next().unwrap())
        .collect()
}

#[test]
fn the_purchase_in_the_readme_is_the_one_that_serve_prints() {
    let readme = read("README.md").text;
    let lines: Vec<_> = readme.lines().filter(|line| line.starts_with("curl ")).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    let banner = read("cartwright/src/banner.rs").text;
    assert_eq!(paths(&lines.join("\n")), paths(&banner));
}
