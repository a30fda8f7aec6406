//! The outcomes of one call.

use std::{sync::Arc, time::Duration};

use runtime::{
    Fault, Faults, Ids, RequestContext, Runtime, Service,
    channel::Peer,
    serve::{Capacity, GrpcLimits},
};
use tokio::sync::Barrier;
use tonic::Code;

use crate::server::{Behaviour, Echo, OTHER, call, call_method, policy, serve, serve_echo};

#[tokio::test]
async fn a_call_is_answered_in_memory_and_over_tcp() {
    let (echo, _running, memory, tcp) = serve_echo(Faults::none()).await;
    call(&memory).await.unwrap();
    call(&tcp).await.unwrap();
    assert_eq!(echo.calls(), 2);
}

#[tokio::test]
async fn a_call_to_a_hung_peer_ends_at_its_deadline() {
    let (echo, _running, memory, tcp) = serve_echo(Faults::none()).await;
    echo.behave(Behaviour::Hang);
    for peer in [memory, tcp] {
        let late = tokio::time::timeout(Duration::from_secs(10), call(&peer))
            .await
            .expect("the deadline holds");
        // Client and server race to notice the deadline; tonic's server reports `Cancelled`.
        assert!(matches!(
            late.unwrap_err().code(),
            Code::DeadlineExceeded | Code::Cancelled
        ));
    }
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_the_connection_goes_on() {
    let (echo, _running, memory, tcp) = serve_echo(Faults::none()).await;
    for peer in [memory, tcp] {
        echo.behave(Behaviour::Panic);
        let status = call(&peer).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Internal, "internal error"));
        echo.behave(Behaviour::Answer);
        call(&peer).await.unwrap();
    }
}

#[tokio::test]
async fn the_context_of_a_request_travels() {
    let (echo, _running, memory, tcp) = serve_echo(Faults::none()).await;
    for peer in [memory, tcp] {
        let context = RequestContext::new(&Ids::random());
        context.clone().scope(call(&peer)).await.unwrap();
        assert_eq!(echo.seen.lock().unwrap().take(), Some(context));
    }
}

#[tokio::test]
async fn each_fault_has_its_effect() {
    let cases = [
        (Fault::NeverArrives, 0, Some(Code::Unavailable)),
        (Fault::AnswerLost, 1, Some(Code::Unavailable)),
        (Fault::Slow(Duration::from_secs(5)), 1, Some(Code::DeadlineExceeded)),
        (Fault::Twice, 2, None),
    ];
    for (fault, executed, code) in cases {
        let (echo, runtime) = (Echo::new(), Runtime::system());
        let service = Service::new("echo", echo.clone(), runtime.tasks.clone());
        let faults = Faults::from_fn(move |name| (name == "test.Echo").then_some(fault));
        let (_running, memory, _) = serve(service, faults, &runtime).await;
        let answer = call(&memory).await;
        assert_eq!(
            (echo.calls(), answer.err().map(|status| status.code())),
            (executed, code),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_call_to_a_stopped_replica_is_retried_on_another() {
    let runtime = Runtime::system();
    let (first, second) = (Echo::new(), Echo::new());
    let serve_one = async |echo: &Echo| {
        let runtime = runtime.with_own_tasks();
        let service = Service::new("echo", echo.clone(), runtime.tasks.clone());
        serve(service, Faults::none(), &runtime).await.0
    };
    let (one, two) = (serve_one(&first).await, serve_one(&second).await);
    let addresses = format!("{},{}", one.address, two.address);
    let peer = Peer::tcp(&addresses, policy(Faults::none())).unwrap();
    for _ in 0..4 {
        call(&peer).await.unwrap();
    }
    assert_eq!((first.calls(), second.calls()), (2, 2));
    one.stop(Duration::from_secs(1)).await;
    for _ in 0..4 {
        call(&peer).await.unwrap();
    }
    assert_eq!((first.calls(), second.calls()), (2, 6));
}

#[tokio::test]
async fn hung_calls_block_no_other_calls() {
    let (echo, running, ..) = serve_echo(Faults::none()).await;
    let mut patient = policy(Faults::none());
    patient.deadline = Duration::from_mins(1);
    let peer = Peer::tcp(&running.address.to_string(), patient).unwrap();
    echo.behave(Behaviour::Hang);
    let hanging = futures::future::join_all((0..200).map(|_| call(&peer)));
    let other = tokio::time::timeout(Duration::from_secs(10), call_method(&peer, OTHER.clone()));
    tokio::select! {
        biased;
        ended = hanging => panic!("{ended:?}"),
        answered = other => answered.expect("it does not wait for those that hang").unwrap(),
    }
}

#[tokio::test]
async fn all_concurrent_calls_are_answered_on_the_only_connection_a_service_permits() {
    const CALLS: usize = 120;
    let runtime = Runtime {
        limits: GrpcLimits {
            capacity: Capacity::new(1, 1),
            ..GrpcLimits::default()
        },
        ..Runtime::system()
    };
    let echo = Echo::new();
    let service = Service::new("echo", echo.clone(), runtime.tasks.clone());
    let (running, ..) = serve(service, Faults::none(), &runtime).await;
    let mut patient = policy(Faults::none());
    patient.deadline = Duration::from_secs(30);
    let peer = Peer::tcp(&running.address.to_string(), patient).unwrap();
    call(&peer).await.unwrap();
    // No call is answered before all have arrived.
    echo.behave(Behaviour::AllAtOnce(0, Arc::new(Barrier::new(CALLS))));
    for answer in futures::future::join_all((0..CALLS).map(|_| call(&peer))).await {
        answer.unwrap();
    }
    assert_eq!(echo.calls(), 1 + CALLS);
}

#[tokio::test]
async fn a_call_delivered_again_keeps_its_id() {
    let (echo, _running, memory, _) = serve_echo(Faults::from_fn(|_| Some(Fault::Twice))).await;
    call(&memory).await.unwrap();
    call(&memory).await.unwrap();
    let ids = echo.ids.lock().unwrap().clone();
    assert_eq!(ids.len(), 4);
    assert!(ids[0].is_some() && ids[0] == ids[1] && ids[2] == ids[3] && ids[1] != ids[2]);
}
