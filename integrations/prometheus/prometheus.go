// Package sessionprometheus exports metrics of session storages to Prometheus.
//
//	remote := sessionprometheus.NewRemote("redis")
//	sessions := session.NewRoutingStorage(redisStorage, 10_000, session.WithRemoteHook(remote.Hook))
//	registry.MustRegister(remote, sessionprometheus.NewCollector(sessions))
//
// The names are those that OpenTelemetry's exporters make of what package sessionotel exports: docs/monitoring has a
// table, a dashboard and alerts that fit both. Several storages of one process need a label each:
//
//	prometheus.WrapRegistererWith(prometheus.Labels{"storage": "mcp"}, registry)
//
// No metric has a session id, a principal, or anything else of a session.
package sessionprometheus

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/metrics"
)

// Source is what a collector reads, a [session.RoutingStorage] for example.
type Source interface{ Stats() session.Stats }

// NewCollector returns a collector of what [session.Stats] counts. It is safe for concurrent use, also after the
// storage was closed. It panics when the source is nil.
func NewCollector(source Source) prometheus.Collector {
	if source == nil {
		panic("sessionprometheus: NewCollector: the source is nil")
	}
	c := &collector{source: source}
	for _, m := range metrics.All {
		c.descs = append(c.descs, prometheus.NewDesc(m.PrometheusName(), m.Help, labelsOf(m.Labels...), nil))
	}
	return c
}

func labelsOf(keys ...string) (labels []string) {
	for _, key := range keys {
		labels = append(labels, metrics.PrometheusLabel(key))
	}
	return labels
}

type collector struct {
	source Source
	descs  []*prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range c.descs {
		to <- desc
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(to chan<- prometheus.Metric) {
	stats := c.source.Stats()
	for i, m := range metrics.All {
		kind := prometheus.GaugeValue
		if m.Counter {
			kind = prometheus.CounterValue
		}
		m.Read(&stats, func(value float64, labels ...string) {
			to <- prometheus.MustNewConstMetric(c.descs[i], kind, value, labels...)
		})
	}
}

// Remote measures how long calls of a remote storage take, as db_client_operation_duration_seconds, by operation and
// kind of error. Make it with [NewRemote]. It is safe for concurrent use.
type Remote struct {
	*prometheus.HistogramVec
	system string
}

// NewRemote returns a collector. The system is the label db_system_name, "redis" for example.
func NewRemote(system string) *Remote {
	return &Remote{
		HistogramVec: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: metrics.PrometheusLabel(metrics.Duration) + "_seconds", Help: metrics.DurationHelp,
			Buckets: metrics.DurationBuckets,
		}, labelsOf(metrics.System, metrics.Operation, metrics.ErrorType)),
		system: system,
	}
}

// Hook is a [session.RemoteHook].
func (r *Remote) Hook(ctx context.Context, op string) (context.Context, func(error)) {
	begun := time.Now()
	return ctx, func(err error) {
		r.WithLabelValues(r.system, op, metrics.TypeOf(err)).Observe(time.Since(begun).Seconds())
	}
}
