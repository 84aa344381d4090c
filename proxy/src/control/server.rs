//! The gRPC server: configuration to data planes, and what they serve and count to the operator. Every method
//! authenticates and authorises its caller before it does anything else.

mod session;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use sluice_wire::v1::{
    FromDataPlane, ObserveRequest, ObserveResponse, ToDataPlane,
    configuration_server::{Configuration, ConfigurationServer},
    observation_server::{Observation, ObservationServer},
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap, service::Routes};

use crate::control::{
    auth::{Accounts, Authenticate, Caller, bearer},
    fleet::Fleet,
    metrics::Metrics,
    publish::Publisher,
};

/// Largest message that is read. Counters of a very large data plane fit.
const MESSAGE_LIMIT: usize = 4 * 1024 * 1024;
/// Routes that one call may ask for.
const ROUTES_PER_CALL: usize = 1024;

/// Everything that the services need.
pub struct Control {
    /// Says who calls.
    pub authenticator: Box<dyn Authenticate>,
    /// Says who may do what.
    pub accounts: Accounts,
    /// What data planes are to serve.
    pub publisher: Arc<Publisher>,
    /// What they serve.
    pub fleet: Arc<Fleet>,
    /// Pods of data planes that may be serving.
    pub serving: watch::Receiver<BTreeSet<String>>,
    /// Figures of the controller.
    pub metrics: Metrics,
}

/// Both services.
pub fn routes(control: &Arc<Control>) -> Routes {
    let services = Services(Arc::clone(control));
    let configuration = ConfigurationServer::new(services.clone()).max_decoding_message_size(MESSAGE_LIMIT);
    let observation = ObservationServer::new(services).max_decoding_message_size(MESSAGE_LIMIT);
    Routes::new(configuration).add_service(observation)
}

#[derive(Clone)]
struct Services(Arc<Control>);

impl Control {
    async fn caller(&self, metadata: &MetadataMap) -> Result<Caller, Status> {
        self.authenticator.authenticate(bearer(metadata)?).await
    }
}

#[tonic::async_trait]
impl Configuration for Services {
    type ConnectStream = ReceiverStream<Result<ToDataPlane, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<FromDataPlane>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let caller = self.0.caller(request.metadata()).await?;
        self.0.accounts.authorise_data_plane(&caller)?;
        // Room for one: the newest state is looked up when there is room, so that a slow reader never has a queue.
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(session::serve(Arc::clone(&self.0), caller, request.into_inner(), sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl Observation for Services {
    async fn observe(&self, request: Request<ObserveRequest>) -> Result<Response<ObserveResponse>, Status> {
        let caller = self.0.caller(request.metadata()).await?;
        self.0.accounts.authorise_observer(&caller)?;
        let routes = request.into_inner().routes;
        if routes.len() > ROUTES_PER_CALL {
            return Err(Status::invalid_argument(format!("at most {ROUTES_PER_CALL} routes can be asked for at once")));
        }
        let published = self.0.publisher.newest();
        if published.update == 0 {
            return Err(Status::unavailable("the controller has not read the cluster yet"));
        }
        let serving = self.0.serving.borrow().clone();
        Ok(Response::new(self.0.fleet.observe(&routes, &serving, &published)))
    }
}
