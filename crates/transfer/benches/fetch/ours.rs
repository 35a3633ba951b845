//! The engine itself, as an agent uses it.

use std::{path::Path, sync::Arc};

use base::{Clock, Entropy, RealDisk, Redacted};
use store::{HubStanding, Store, StoreOptions, Supplier};
use tokio_util::sync::CancellationToken;
use transfer::{FetchRequest, HubSource, SourceList, Transfer, TransferOptions};
use types::{HubName, ModelRef, TenantId};

use crate::shape::MODEL;

pub(crate) fn fetch(endpoint: &str, into: &Path) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = Store::open(Arc::new(RealDisk), Clock::System, StoreOptions::at(into.join("store")))
            .expect("a store opens");
        let name: HubName = "bench".parse().unwrap();
        let hub = hub::Hub::new(hub::HubOptions::new(name, endpoint.parse().unwrap())).unwrap();
        let reference: ModelRef = MODEL.parse().unwrap();
        let model = hub.resolve_model(&reference, None).await.expect("the hub has the model");
        let (transfer, service) =
            Transfer::new(TransferOptions::default(), store, Clock::System, Entropy::System);
        let token = CancellationToken::new();
        let running = tokio::task::spawn(service.run(token.clone()));
        let supplier = Supplier {
            hub: model.repo.hub.clone(),
            tenant: TenantId::default_tenant(),
            standing: HubStanding::Trusted,
        };
        let source = HubSource::new(hub, model.repo.name.clone(), model.commit, None::<Redacted<String>>);
        let request =
            FetchRequest::new(Arc::new(model.manifest), SourceList::one(Arc::new(source)), supplier);
        transfer.fetch(request).join().await.expect("the fetch ends well");
        token.cancel();
        running.await.unwrap();
    });
}
