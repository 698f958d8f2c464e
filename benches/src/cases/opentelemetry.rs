//! tracing into OpenTelemetry's batch processor, which hands over to an exporter that does nothing.

use std::sync::OnceLock;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing_subscriber::layer::SubscriberExt;

use super::subscriber::{batch, batch_of_futures, batch_of_orders, install};
use super::{Case, Group, in_roots};
use crate::work::order;

pub(super) fn cases() -> Vec<Case> {
    let cases = [
        Case::new(Group::Sync, "tracing + OpenTelemetry, batch", |n| in_roots(n, 1000, batch)),
        Case::new(Group::Async, "tracing + OpenTelemetry, batch", |n| in_roots(n, 1000, batch_of_futures)),
        Case::new(Group::Recorded, "tracing + OpenTelemetry, Debug", |n| {
            let order = order();
            in_roots(n, 1000, |nodes| batch_of_orders(nodes, &order));
        }),
    ];
    cases.map(|case| case.prepared(prepare).flushed(flush)).to_vec()
}

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

#[derive(Debug)]
struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

fn prepare() {
    let provider = PROVIDER.get_or_init(|| SdkTracerProvider::builder().with_batch_exporter(Nowhere).build());
    install(tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"))));
}

fn flush() {
    let flushed = PROVIDER.get().map(SdkTracerProvider::force_flush);
    assert!(flushed.is_none_or(|flushed| flushed.is_ok()), "the exporter cannot fail");
}
