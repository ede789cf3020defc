package sessionotel

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/metrics"
)

// RemoteHook returns a hook for [session.WithRemoteHook], which makes a span of each call of the remote, and measures
// how long it takes. nil stands for a global provider. The attributes are added to both; "db.system.name" is "redis"
// unless they have it. One hook may serve several storages. The error is one of the meter's provider.
//
// A span has the status error when the remote is at fault, or the program: not for "not found" or a conflict, which are
// answers, nor when the caller has given up.
func RemoteHook(
	tracers trace.TracerProvider, meters metric.MeterProvider, attributes ...attribute.KeyValue,
) (session.RemoteHook, error) {
	if tracers == nil {
		tracers = otel.GetTracerProvider()
	}
	if meters == nil {
		meters = otel.GetMeterProvider()
	}
	duration, err := meters.Meter(scope).Float64Histogram(metrics.Duration,
		metric.WithUnit(metrics.DurationUnit), metric.WithDescription(metrics.DurationHelp),
		metric.WithExplicitBucketBoundaries(metrics.DurationBuckets...))
	if err != nil {
		return nil, err
	}
	isSystem := func(a attribute.KeyValue) bool { return a.Key == metrics.System }
	common := slices.Clone(attributes)
	if !slices.ContainsFunc(common, isSystem) {
		common = append(common, attribute.String(metrics.System, "redis"))
	}
	tracer := tracers.Tracer(scope)
	return func(ctx context.Context, op string) (context.Context, func(error)) {
		all := append(slices.Clone(common), attribute.String(metrics.Operation, op))
		begun := time.Now()
		ctx, span := tracer.Start(ctx, "sessionstore "+op, //nolint:spancheck // the storage calls what is returned, once
			trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(all...))
		return ctx, func(err error) { //nolint:spancheck // as above
			if kind := metrics.TypeOf(err); kind != "" {
				is := attribute.String(metrics.ErrorType, kind)
				all = append(all, is)
				span.SetAttributes(is)
				if metrics.IsFault(kind) {
					span.SetStatus(codes.Error, err.Error()) // whose text has no id
				}
			}
			span.End()
			duration.Record(ctx, time.Since(begun).Seconds(), metric.WithAttributes(all...))
		}
	}, nil
}
