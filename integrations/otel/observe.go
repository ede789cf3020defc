package sessionotel

import (
	"context"
	"errors"
	"slices"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/metrics"
)

const scope = "github.com/seed34611480/session/integrations/otel"

// Source is what [Observe] reads, a [session.RoutingStorage] for example.
type Source interface{ Stats() session.Stats }

// Observe exports the counts of a storage, each time that metrics are collected. nil stands for the global provider.
// The attributes are added to each metric: several storages of one process need different ones. End it with Unregister,
// before or after the storage is closed. The error is one of the provider's. It panics when the source is nil.
func Observe(
	provider metric.MeterProvider, source Source, attributes ...attribute.KeyValue,
) (metric.Registration, error) {
	if source == nil {
		panic("sessionotel: Observe: the source is nil")
	}
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	attributes = slices.Clone(attributes) // the caller's slice may change
	meter := provider.Meter(scope)
	instruments := make([]metric.Float64Observable, len(metrics.All))
	observables := make([]metric.Observable, len(metrics.All))
	var failed error
	for i, m := range metrics.All {
		var err error
		if m.Counter {
			instruments[i], err = meter.Float64ObservableCounter(m.Name,
				metric.WithUnit(m.Unit), metric.WithDescription(m.Help))
		} else {
			instruments[i], err = meter.Float64ObservableGauge(m.Name,
				metric.WithUnit(m.Unit), metric.WithDescription(m.Help))
		}
		failed = errors.Join(failed, err)
		observables[i] = instruments[i]
	}
	if failed != nil {
		return nil, failed
	}
	return meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		stats := source.Stats()
		for i, m := range metrics.All {
			m.Read(&stats, func(value float64, labels ...string) {
				all := slices.Clone(attributes)
				for l, key := range m.Labels {
					all = append(all, attribute.String(key, labels[l]))
				}
				to.ObserveFloat64(instruments[i], value, metric.WithAttributes(all...))
			})
		}
		return nil
	}, observables...)
}
