package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

// TestPrometheusCanScrape runs the program, and reads what it serves with Prometheus' own parser.
func TestPrometheusCanScrape(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "localhost:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, listener, "") }()
	url := "http://" + listener.Addr().String()

	require.Eventually(t, func() bool {
		body, err := get(t.Context(), url+"/metrics")
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, malformed := parser.TextToMetricFamilies(bytes.NewReader(body))
		if err != nil || malformed != nil {
			return false
		}
		loads := 0.
		for _, m := range families["sessionstore_loads_total"].GetMetric() {
			loads += m.GetCounter().GetValue()
		}
		calls := families["db_client_operation_duration_seconds"].GetMetric()
		return loads > 10 && len(calls) >= 2
	}, 10*time.Second, 10*time.Millisecond)
	_, err = get(t.Context(), url+"/readyz")
	require.NoError(t, err)
	stop()
	require.NoError(t, <-ended)
}

func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	return io.ReadAll(response.Body)
}
