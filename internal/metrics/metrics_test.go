package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// TestEachFieldIsExported sets one field of Stats at a time to a value, which has to show in exactly one number.
func TestEachFieldIsExported(t *testing.T) {
	t.Parallel()
	var paths [][]int
	for _, field := range reflect.VisibleFields(reflect.TypeFor[session.Stats]()) {
		if field.Type.Kind() != reflect.Struct {
			paths = append(paths, field.Index)
			continue
		}
		for i := range field.Type.NumField() {
			paths = append(paths, append(append([]int{}, field.Index...), i))
		}
	}
	require.Greater(t, len(paths), 30)
	none := numbers(&session.Stats{})
	for _, path := range paths {
		var s session.Stats
		switch field := reflect.ValueOf(&s).Elem().FieldByIndex(path); field.Kind() {
		case reflect.String:
			field.SetString(string(session.ModeLeased))
		case reflect.Uint64:
			field.SetUint(7)
		default:
			field.SetInt(7)
		}
		var changed []string
		for name, value := range numbers(&s) {
			if none[name] != value {
				changed = append(changed, name)
			}
		}
		require.Len(t, changed, 1, "%v", reflect.TypeFor[session.Stats]().FieldByIndex(path).Name)
	}
}

func numbers(s *session.Stats) map[string]float64 {
	all := make(map[string]float64)
	for _, m := range All {
		m.Read(s, func(value float64, labels ...string) {
			all[m.Name+strings.Join(labels, "/")] = value
		})
	}
	return all
}

func TestMetricsAreWellFormed(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, m := range All {
		require.False(t, seen[m.Name], m.Name)
		seen[m.Name] = true
		require.Regexp(t, `^sessionstore\.[a-z_]+$`, m.Name)
		require.Regexp(t, `^({[a-z]+}|s|By)$`, m.Unit)
		require.NotEmpty(t, m.Help)
		m.Read(&session.Stats{}, func(_ float64, labels ...string) { require.Len(t, labels, len(m.Labels), m.Name) })
	}
	none := session.Stats{ProofAge: -1}
	require.NotContains(t, numbers(&none), "sessionstore.proof_age", "there was no proof")
}

func TestTypesAreTheFieldsOfFailures(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(session.Failures{})
	require.NoError(t, err)
	var fields map[string]int
	require.NoError(t, json.Unmarshal(text, &fields))
	for _, test := range []struct {
		err   error
		want  string
		fault bool
	}{
		{nil, "", false},
		{session.ErrNotFound, "not_found", false},
		{session.ErrUnavailable, "unavailable", true},
		{session.ErrCorrupt, "corrupt", true},
		{session.ErrConflict, "conflict", false},
		{session.ErrExists, "conflict", false},
		{session.ErrTooLarge, "limit", true},
		{session.ErrTooMany, "limit", true},
		{context.Canceled, "canceled", false},
		{context.DeadlineExceeded, "canceled", false},
		{session.ErrClosed, "other", true},
		{errors.ErrUnsupported, "other", true},
	} {
		kind := TypeOf(test.err)
		if test.err != nil {
			require.Equal(t, test.want, TypeOf(fmt.Errorf("wrapped: %w", test.err)))
			require.Contains(t, fields, kind)
		}
		require.Equal(t, test.want, kind)
		require.Equal(t, test.fault, IsFault(kind), kind)
	}
}
