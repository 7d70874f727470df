//! Collected numbers as OpenMetrics text. Everything is collected first, so nothing is locked while it is encoded.

use std::fmt;

use headwater_storage::HistogramReading;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Before every name.
const PREFIX: &str = "headwater";

/// Names and values of labels.
pub type Labels = Vec<(&'static str, String)>;

/// Families of samples. A family's samples stand together, as the format demands.
#[derive(Debug, Default)]
pub struct Exposition {
    families: Vec<Family>,
}

/// One name with a sample for each set of labels.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// `_total` is added to the name.
    Counter(Vec<(Labels, f64)>),
    Gauge(Vec<(Labels, f64)>),
    Info(Labels),
    Histogram {
        reading: HistogramReading,
        unit: f64,
    },
}

impl Exposition {
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.counters(name, help, vec![(Labels::new(), value as f64)]);
    }

    pub fn counters(&mut self, name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) {
        self.families.push(Family { name, help, values: Values::Counter(samples) });
    }

    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.gauges(name, help, vec![(Labels::new(), value)]);
    }

    pub fn gauges(&mut self, name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) {
        self.families.push(Family { name, help, values: Values::Gauge(samples) });
    }

    pub fn info(&mut self, name: &'static str, help: &'static str, labels: Labels) {
        self.families.push(Family { name, help, values: Values::Info(labels) });
    }

    /// Bounds and sum are divided by `unit`: the product with a fraction would not print as a round number.
    pub fn histogram(&mut self, name: &'static str, help: &'static str, reading: HistogramReading, unit: f64) {
        self.families.push(Family { name, help, values: Values::Histogram { reading, unit } });
    }

    pub fn encode(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.families {
            let kind = match family.values {
                Values::Counter(_) => MetricType::Counter,
                Values::Gauge(_) => MetricType::Gauge,
                Values::Info(_) => MetricType::Info,
                Values::Histogram { .. } => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            match &family.values {
                Values::Counter(samples) => write(metric, samples, ConstCounter::new)?,
                Values::Gauge(samples) => write(metric, samples, ConstGauge::new)?,
                Values::Info(labels) => metric.encode_info(labels)?,
                Values::Histogram { reading, unit } => {
                    let sum = reading.sum as f64 / unit;
                    let buckets = buckets(reading, *unit);
                    metric.encode_histogram::<NoLabelSet>(sum, reading.count, &buckets, None)?;
                }
            }
        }
        Ok(())
    }
}

/// A sample without labels is written by the family's own encoder: that of a member would write empty braces.
fn write<S: EncodeMetric>(
    mut metric: MetricEncoder<'_>,
    samples: &[(Labels, f64)],
    sample: impl Fn(f64) -> S,
) -> Result<(), fmt::Error> {
    if let [(labels, value)] = samples
        && labels.is_empty()
    {
        return sample(*value).encode(metric);
    }
    samples.iter().try_for_each(|(labels, value)| sample(*value).encode(metric.encode_family(labels)?))
}

/// What is above the highest bound goes to the bucket without one.
fn buckets(reading: &HistogramReading, unit: f64) -> Vec<(f64, u64)> {
    let counted: u64 = reading.buckets.iter().map(|(_, count)| count).sum();
    let bounded = reading.buckets.iter().map(|(bound, count)| (*bound as f64 / unit, *count));
    bounded.chain([(f64::INFINITY, reading.count.saturating_sub(counted))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_openmetrics() {
        let mut exposition = Exposition::default();
        exposition.gauge("a", "Plain", 2.0);
        exposition.counters("b", "Labelled", vec![(vec![("stream", "S\"1".to_owned())], 3.0)]);
        let reading = HistogramReading { count: 3, sum: 30, buckets: vec![(8, 1), (16, 1)] };
        exposition.histogram("c", "Spread", reading, 2.0);
        let text = exposition.encode().unwrap();
        let expected = "# HELP headwater_a Plain\n# TYPE headwater_a gauge\nheadwater_a 2.0\n\
                        # HELP headwater_b Labelled\n# TYPE headwater_b counter\nheadwater_b_total{stream=\"S\\\"1\"} 3.0\n\
                        # HELP headwater_c Spread\n# TYPE headwater_c histogram\nheadwater_c_sum 15.0\n\
                        headwater_c_count 3\nheadwater_c_bucket{le=\"4.0\"} 1\nheadwater_c_bucket{le=\"8.0\"} 2\n\
                        headwater_c_bucket{le=\"+Inf\"} 3\n# EOF\n";
        assert_eq!(text, expected);
    }
}
