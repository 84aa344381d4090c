//! One data plane's stream: configuration down, acknowledgements and counters up.

use std::{sync::Arc, time::Duration};

use sluice_wire::{
    Message as _,
    v1::{FromDataPlane, Hello, ToDataPlane, from_data_plane::Message},
};
use tokio::{sync::mpsc, time::timeout};
use tonic::{Status, Streaming};

use super::Control;
use crate::control::{
    auth::{Caller, authorise_pod},
    fleet::Member,
    publish::Sent,
};

/// How long a data plane may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

type Outbound = mpsc::Sender<Result<ToDataPlane, Status>>;

/// Serves the stream to its end, and tells the data plane why when the end is ours.
pub(super) async fn serve(
    control: Arc<Control>,
    caller: Caller,
    mut inbound: Streaming<FromDataPlane>,
    outbound: Outbound,
) {
    let end = match greet(&caller, &mut inbound).await {
        Ok(hello) => {
            let member = control.fleet.join(&hello.pod, hello.epoch);
            tracing::info!(pod = hello.pod, version = hello.version, "Data plane connected");
            let end = converse(&control, &member, inbound, &outbound).await;
            tracing::info!(pod = hello.pod, reason = end.message(), "Data plane disconnected");
            end
        }
        Err(refusal) => {
            tracing::warn!(user = caller.username, reason = refusal.message(), "Data plane refused");
            refusal
        }
    };
    // Of no use when the reader is gone or stuck, and then nobody misses it.
    outbound.try_send(Err(end)).ok();
}

async fn greet(caller: &Caller, inbound: &mut Streaming<FromDataPlane>) -> Result<Hello, Status> {
    let first = timeout(HELLO_TIMEOUT, inbound.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no hello was sent"))??;
    match first.and_then(|from| from.message) {
        Some(Message::Hello(hello)) => authorise_pod(caller, &hello.pod).map(|()| hello),
        _ => Err(Status::failed_precondition("the first message must be a hello")),
    }
}

async fn converse(
    control: &Control,
    member: &Member,
    mut inbound: Streaming<FromDataPlane>,
    outbound: &Outbound,
) -> Status {
    let mut newest = control.publisher.subscribe();
    newest.mark_changed();
    let mut sent = Sent::default();
    let mut behind = false;
    loop {
        tokio::select! {
            received = inbound.message() => match received {
                Ok(Some(from)) => receive(member, from),
                Ok(None) => return Status::ok("the data plane ended the stream"),
                Err(error) => return error,
            },
            changed = newest.changed() => match changed {
                Ok(()) => behind = true,
                Err(_) => return Status::unavailable("the controller ends"),
            },
            room = outbound.reserve(), if behind => match room {
                Ok(room) => {
                    behind = false;
                    let state = newest.borrow_and_update().clone();
                    if let Some(update) = sent.advance(&state) {
                        let message = ToDataPlane { update: Some(update) };
                        control.metrics.sent(message.encoded_len());
                        room.send(Ok(message));
                    }
                }
                Err(_) => return Status::cancelled("the data plane went away"),
            },
            () = member.superseded.notified() => return Status::aborted("another connection of this pod took over"),
        }
    }
}

fn receive(member: &Member, from: FromDataPlane) {
    match from.message {
        Some(Message::Ack(ack)) => {
            if !ack.error.is_empty() {
                tracing::error!(update = ack.update, error = ack.error, "A data plane refused an update");
            }
            member.ack(ack);
        }
        Some(Message::Counters(counters)) => member.record(counters.cells),
        Some(Message::Draining(_)) => member.draining(),
        // A second hello says nothing new, and a message of a newer version is not for us.
        Some(Message::Hello(_)) | None => {}
    }
}
