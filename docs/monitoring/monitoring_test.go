// Package monitoring checks the dashboard and the alerts: with Prometheus' own parsers and its engine, and without a
// server.
package monitoring

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/metrics"
)

var parse = parser.NewParser(parser.Options{})

// exported returns the names that a Prometheus sees, with their labels.
func exported() map[string][]string {
	all := make(map[string][]string)
	for _, m := range metrics.All {
		all[m.PrometheusName()] = labels(m.Labels...)
	}
	duration := metrics.PrometheusLabel(metrics.Duration) + "_seconds"
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		all[duration+suffix] = labels(metrics.System, metrics.Operation, metrics.ErrorType, "le")
	}
	return all
}

func labels(keys ...string) []string {
	names := []string{"job", "instance"} // Prometheus adds these
	for _, key := range keys {
		names = append(names, metrics.PrometheusLabel(key))
	}
	return names
}

// requireExported checks that an expression uses nothing that is not exported, and returns the metrics.
func requireExported(t *testing.T, text string) (names []string) {
	expr, err := parse.ParseExpr(text)
	require.NoError(t, err, text)
	all := exported()
	var known []string
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			require.Contains(t, all, selector.Name, text)
			names = append(names, selector.Name)
			known = append(known, all[selector.Name]...)
			for _, matcher := range selector.LabelMatchers {
				if matcher.Name != model.MetricNameLabel {
					require.Contains(t, all[selector.Name], matcher.Name, text)
				}
			}
		}
		return nil
	})
	require.NotEmpty(t, names, text)
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		var used []string
		switch node := node.(type) {
		case *parser.AggregateExpr:
			used = node.Grouping
		case *parser.BinaryExpr:
			if node.VectorMatching != nil {
				used = node.VectorMatching.MatchingLabels
			}
		}
		require.Subset(t, known, used, text)
		return nil
	})
	return names
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("grafana.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			ID      int            `json:"id"`
			Title   string         `json:"title"`
			GridPos map[string]int `json:"gridPos"` //nolint:tagliatelle // as Grafana writes it
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	shown, places := make(map[string]bool), make(map[[2]int]bool)
	for i, panel := range dashboard.Panels {
		require.Equal(t, i+1, panel.ID)
		place := [2]int{panel.GridPos["x"], panel.GridPos["y"]} // all have one size
		require.False(t, places[place], "%s lies on another panel", panel.Title)
		places[place] = true
		for _, target := range panel.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*").Replace(target.Expr)
			require.NotContains(t, expr, "$")
			for _, name := range requireExported(t, expr) {
				shown[name] = true
			}
		}
	}
	for _, m := range metrics.All {
		if m.Name != "sessionstore.panics" && m.Name != "sessionstore.remote_loads" { // an alert; remote calls has more
			require.True(t, shown[m.PrometheusName()], "%s is on no panel", m.Name)
		}
	}
}

// TestTable: README.md has each metric, as it is exported.
func TestTable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, m := range metrics.All {
		var names []string
		for _, label := range labels(m.Labels...)[2:] {
			names = append(names, "`"+label+"`")
		}
		row := "| `" + m.Name + "` | `" + m.PrometheusName() + "` | " + strings.Join(names, ", ") + " | " + m.Help + " |"
		require.Contains(t, string(text), row)
	}
	for _, block := range regexp.MustCompile("(?s)```promql\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		requireExported(t, block[1])
	}
}

// healthy is a service of two replicas for two hours, and one of which the local tier is off.
const healthy = `load 1m
	sessionstore_mode{instance="a",job="j",mode="leased"} 1x120
	sessionstore_mode{instance="a",job="j",mode="bounded age"} 0x120
	sessionstore_mode{instance="a",job="j",mode="unavailable"} 0x120
	sessionstore_mode{instance="a",job="j",mode="stale-if-error"} 0x120
	sessionstore_loads_total{instance="a",job="j",result="hit"} 0+6000x120
	sessionstore_loads_total{instance="a",job="j",result="miss"} 0+60x120
	sessionstore_failures_total{instance="a",job="j",operation="load",error_type="not_found"} 0+6x120
	sessionstore_failures_total{instance="a",job="j",operation="load",error_type="unavailable"} 0x120
	sessionstore_failures_total{instance="a",job="j",operation="load",error_type="corrupt"} 0x120
	sessionstore_failures_total{instance="a",job="j",operation="write",error_type="conflict"} 0+6x120
	sessionstore_failures_total{instance="a",job="j",operation="refresh",error_type="unavailable"} 0x120
	sessionstore_failed_listings_total{instance="a",job="j"} 0x120
	sessionstore_dropped_uses_total{instance="a",job="j"} 0x120
	sessionstore_panics_total{instance="a",job="j"} 0x120
	sessionstore_gaps_total{instance="a",job="j"} 1x120
`

// trouble is what changes in an hour, for each alert. Other alerts may fire, too.
var trouble = map[string][]string{
	"SessionStoreUnavailable": {
		`sessionstore_mode{instance="a",job="j",mode="leased"} 1x60 0x60`,
		`sessionstore_mode{instance="a",job="j",mode="unavailable"} 0x60 1x60`,
	},
	"SessionStoreNotLeased": {
		`sessionstore_mode{instance="a",job="j",mode="leased"} 0x120`, // there never was a proof
		`sessionstore_mode{instance="a",job="j",mode="bounded age"} 1x120`,
	},
	"SessionStoreRefreshesFail": {
		`sessionstore_failures_total{instance="a",job="j",operation="refresh",error_type="unavailable"} 0x60 0+60x60`,
	},
	"SessionStoreErrors": {
		`sessionstore_failures_total{instance="a",job="j",operation="load",error_type="unavailable"} 0x60 0+600x60`,
	},
	"SessionStoreCorrupt": {
		`sessionstore_failures_total{instance="a",job="j",operation="load",error_type="corrupt"} 0x60 0+1x60`,
	},
	"SessionStoreManyNotFound": {
		`sessionstore_failures_total{instance="a",job="j",operation="load",error_type="not_found"} 0+6x110 660+6000x10`,
	},
	"SessionStoreListingsFail": {`sessionstore_failed_listings_total{instance="a",job="j"} 0x60 0+60x60`},
	"SessionStoreUsesDropped":  {`sessionstore_dropped_uses_total{instance="a",job="j"} 0x60 0+60x60`},
	"SessionStorePanics":       {`sessionstore_panics_total{instance="a",job="j"} 0x60 0+1x60`},
	"SessionStoreFlapping":     {`sessionstore_gaps_total{instance="a",job="j"} 1x60 1+1x60`},
}

// TestAlerts evaluates each rule after two hours, for a healthy service and in trouble.
func TestAlerts(t *testing.T) {
	all := rules(t)
	for _, rule := range all {
		t.Run(rule.Alert, func(t *testing.T) {
			requireExported(t, rule.Expr)
			require.Contains(t, trouble, rule.Alert)
			require.NotEmpty(t, rule.Annotations["summary"])
			require.Empty(t, evaluate(t, rule.Expr, healthy), "a healthy service")
			require.NotEmpty(t, evaluate(t, rule.Expr, troubled(t, trouble[rule.Alert])), "in trouble")
		})
	}
	require.Len(t, trouble, len(all))
}

// TestWhichAlertsFire has what lasts for a while, scraped each 15 seconds: an alert fires when its expression holds for
// as long as the rule says, for one and the same set of labels.
func TestWhichAlertsFire(t *testing.T) {
	const mode, leased = `sessionstore_mode{instance="a",job="j",mode=`, `"leased"} 1x80`
	for name, row := range map[string]struct {
		series []string
		want   []string
	}{
		"a failover of seconds": {[]string{
			mode + `"leased"} 1x40 0 1x40`,
			mode + `"bounded age"} 0x80`,
			mode + `"unavailable"} 0x40 1 0x40`,
			`sessionstore_failures_total{instance="a",job="j",operation="refresh",error_type="unavailable"} 0x40 20x40`,
			`sessionstore_failures_total{instance="a",job="j",operation="load",error_type="unavailable"} 0x40 20x40`,
			`sessionstore_loads_total{instance="a",job="j",result="hit"} 0+15x80`,
			`sessionstore_gaps_total{instance="a",job="j"} 20x40 40x40`, // a Cluster with 20 masters
		}, nil},
		"no refresh works": {[]string{
			mode + leased,
			`sessionstore_failures_total{instance="a",job="j",operation="refresh",error_type="unavailable"} 0x20 1+1x60`,
		}, []string{"SessionStoreRefreshesFail"}},
		"an outage": {[]string{
			mode + `"leased"} 1x20 0x60`,
			mode + `"bounded age"} 0x20 1 0x60`,
			mode + `"unavailable"} 0x20 0 1x60`,
		}, []string{"SessionStoreUnavailable"}},
		"one master of a Cluster is away": {[]string{
			mode + `"leased"} 1x20 0x60`,
			mode + `"bounded age"} 0x20 1 0 1 0 0 1 0 1 1 0 1 0 1 0 1 0 0 1 0 1 1 0 1 0 1 0 1 0 0 1 0 1 1 0 1 0 1 0 1 0 0 1 0 1`,
			mode + `"unavailable"} 0x20 0 1 0 1 1 0 1 0 0 1 0 1 0 1 0 1 1 0 1 0 0 1 0 1 0 1 0 1 1 0 1 0 0 1 0 1 0 1 0 1 1 0 1 0`,
		}, []string{"SessionStoreNotLeased"}},
		"older answers, now and then": {[]string{
			mode + `"leased"} 1x20 0x60`,
			mode + `"bounded age"} 0x80`,
			mode + `"unavailable"} 0x20 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0`,
			mode + `"stale-if-error"} 0x20 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1`,
		}, []string{"SessionStoreUnavailable"}},
		"errors beside a busy service": {[]string{
			mode + leased,
			`sessionstore_failures_total{instance="a",job="j",operation="write",error_type="unavailable"} 0+1x80`,
			`sessionstore_loads_total{instance="a",job="j",result="hit"} 0+10x80`,
			`sessionstore_loads_total{instance="b",job="other",result="hit"} 0+100000x80`,
		}, []string{"SessionStoreErrors"}},
		"one error of a quiet service": {[]string{
			mode + leased,
			`sessionstore_failures_total{instance="a",job="j",operation="load",error_type="unavailable"} 0x40 1x40`,
			`sessionstore_loads_total{instance="a",job="j",result="hit"} 0+1x80`,
		}, nil},
		"two storages in one process": {[]string{
			`sessionstore_mode{instance="a",job="j",storage="mcp",mode="leased"} 0x80`, // it is not set up yet
			`sessionstore_mode{instance="a",job="j",storage="web",mode="leased"} 1x80`,
			`sessionstore_failures_total{instance="a",job="j",storage="mcp",operation="refresh",error_type="other"} 0+1x80`,
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			storage := promqltest.LoadedStorage(t, "load 15s\n\t"+strings.Join(row.series, "\n\t")+"\n")
			engine := promqltest.NewTestEngine(t, false, 5*time.Minute, 100_000)
			var fired []string
			for _, rule := range rules(t) {
				const step = 15 * time.Second
				start := time.Unix(0, 0)
				query, err := engine.NewRangeQuery(t.Context(), storage, nil, rule.Expr, start, start.Add(20*time.Minute), step)
				require.NoError(t, err)
				defer query.Close()
				matrix, err := query.Exec(t.Context()).Matrix()
				require.NoError(t, err)
				if longest(matrix, step) >= time.Duration(rule.For) {
					fired = append(fired, rule.Alert)
				}
			}
			require.Equal(t, row.want, fired)
		})
	}
}

// longest returns for how long one of the series has values without a break; negative if there is none.
func longest(matrix promql.Matrix, step time.Duration) time.Duration {
	most := -step
	for _, series := range matrix {
		var since, last int64
		for i, point := range series.Floats {
			if i == 0 || point.T-last > step.Milliseconds() {
				since = point.T
			}
			last = point.T
			most = max(most, time.Duration(last-since)*time.Millisecond)
		}
	}
	return most
}

func rules(t *testing.T) []rulefmt.Rule {
	groups, errs := rulefmt.ParseFile("alerts.yml", false, model.UTF8Validation, parse, nil)
	require.Empty(t, errs)
	require.Len(t, groups.Groups, 1)
	return groups.Groups[0].Rules
}

// troubled replaces series of the healthy service.
func troubled(t *testing.T, series []string) string {
	lines := strings.Split(healthy, "\n")
	for _, changed := range series {
		name, _, _ := strings.Cut(changed, "} ")
		i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), name+"}") })
		require.NotEqual(t, -1, i, changed)
		lines[i] = "\t" + changed
	}
	return strings.Join(lines, "\n")
}

func evaluate(t *testing.T, expr, series string) string {
	storage := promqltest.LoadedStorage(t, series)
	engine := promqltest.NewTestEngine(t, false, time.Minute*5, 10_000)
	query, err := engine.NewInstantQuery(t.Context(), storage, nil, expr, time.Unix(0, 0).Add(2*time.Hour))
	require.NoError(t, err)
	defer query.Close()
	result := query.Exec(t.Context())
	require.NoError(t, result.Err)
	return result.String()
}
