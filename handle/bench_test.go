package handle

import (
	"testing"
	"time"

	"github.com/seed34611480/session"
)

func BenchmarkMint(b *testing.B) {
	// A storage that forgets at once: what is measured is not the growth of a map.
	baskets := New[basket](session.NewMemoryStorage(time.Millisecond), "basket").For("alice")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := baskets.Mint(b.Context(), basket{Items: []string{"shoes"}, Count: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	baskets := New[basket](memory(), "basket").For("alice")
	h, err := baskets.Mint(b.Context(), basket{Items: []string{"shoes"}, Count: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := baskets.Load(b.Context(), h); err != nil {
			b.Fatal(err)
		}
	}
}
