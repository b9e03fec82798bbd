//! Traces: one from a notification to the write it causes, over OTLP; none unless configured.
//!
//! The way leads through the store, and there may be a restart on it: with the news the store keeps the
//! context of the trace, as a W3C `traceparent`, and the job goes on with it. What comes from the
//! internet is never a parent. Spans hold ids, no names, addresses or tokens.

use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing::Span;
use tracing::field::display;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The collector may take so long to take a batch, and what is left at the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where traces go.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSettings {
    /// Of an OTLP collector that takes HTTP, such as `http://127.0.0.1:4318`, without a slash at its end.
    pub otlp_endpoint: String,
    /// The share of the traces that is kept, from 0 to 1.
    pub ratio: f64,
}

/// What still has to be sent when the process ends.
#[derive(Debug, Default)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// The error is that of the exporter: the service does without traces then.
    pub(super) fn start(settings: &TraceSettings) -> Result<(Self, SdkTracer), String> {
        // TLS needs one, and another part of the process may not have chosen it yet.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/traces", settings.otlp_endpoint))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(PATIENCE)
            .build()
            .map_err(|error| error.to_string())?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let provider = SdkTracerProvider::builder()
            .with_resource(
                Resource::builder_empty().with_service_name("cxone-sync").with_attribute(version).build(),
            )
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.ratio))))
            .with_batch_exporter(exporter)
            .build();
        let tracer = provider.tracer("cxone-sync");
        Ok((Self(Some(provider)), tracer))
    }

    /// Sends what is left. Blocks, for some seconds at most.
    pub fn finish(self) {
        if let Some(provider) = self.0
            && let Err(error) = provider.shutdown_with_timeout(PATIENCE)
        {
            tracing::warn!(error = %error, "could not send the last traces");
        }
    }
}

/// The trace under way, as a W3C `traceparent`, for whoever takes up the work later; `None` without one.
pub fn traceparent() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let of = span.span_context();
    of.is_valid().then(|| format!("00-{}-{}-{:02x}", of.trace_id(), of.span_id(), of.trace_flags()))
}

/// Has a span that was not entered yet go on with a trace, and notes in its field `trace_id` which one it
/// is in, so that its log lines tell.
pub fn go_on(span: &Span, traceparent: Option<&str>) {
    if let Some(parent) = traceparent.and_then(read) {
        // Fails where there are no traces at all.
        span.set_parent(Context::new().with_remote_span_context(parent)).ok();
    }
    let context = span.context();
    let of = context.span().span_context().clone();
    if of.is_valid() {
        span.record("trace_id", display(of.trace_id()));
    }
}

/// Source: W3C Trace Context, 3.2.
fn read(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let well_formed = version == "00" && trace.len() == 32 && span.len() == 16 && flags.len() == 2;
    if !well_formed || parts.next().is_some() {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use tracing::{info_span, instrument::WithSubscriber as _, subscriber::with_default};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_traceparent_is_read_as_it_was_written_and_nothing_else_is() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let read_back = read(text).unwrap();
        assert_eq!(read_back.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(read_back.is_sampled() && read_back.is_remote());
        for wrong in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-00",
            "00-0af7651916cd43dd8448eb211c80319x-b7ad6b7169203331-01",
        ] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_trace_goes_on_where_it_was_written_down() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        with_default(tracing_subscriber::registry().with(layer), || {
            let told = info_span!("notification.receive").in_scope(traceparent).unwrap();
            let span = info_span!("job.run", trace_id = tracing::field::Empty);
            go_on(&span, Some(&told));
            let later = span.in_scope(traceparent).unwrap();
            assert_eq!(later[..36], told[..36], "the same trace");
            assert_ne!(later, told, "another span");
        });
    }

    #[tokio::test]
    async fn without_traces_there_is_nothing_to_keep() {
        let nothing = async {
            let span = info_span!("job.run", trace_id = tracing::field::Empty);
            go_on(&span, Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
            span.in_scope(traceparent)
        };
        assert_eq!(nothing.with_subscriber(tracing_subscriber::registry()).await, None);
    }
}
