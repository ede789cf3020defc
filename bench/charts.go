package main

import (
	"image/color"
	"math"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// bar is one line of a chart.
type bar struct {
	name  string
	value float64
	label string
	ours  bool
}

var (
	oursColor   = color.RGBA{R: 0x1a, G: 0x7f, B: 0x37, A: 0xff}
	othersColor = color.RGBA{R: 0x8c, G: 0x95, B: 0x9f, A: 0xff}
)

// charts draws the README's charts.
func (r *results) charts() error {
	latency, commands := make([]bar, 0, len(r.Hits)), make([]bar, 0, len(r.Steady))
	for _, h := range r.Hits {
		if h.Name != nameNothing && h.Name != nameOursSmall {
			ns := h.Parallel.Median()
			latency = append(latency, bar{h.Name, ns, nanoseconds(ns), h.Name == nameOurs})
		}
	}
	for _, s := range r.Steady {
		ours := s.Name == nameSteadyOurs || s.Name == nameSteadySlow
		label := number(s.Sent)
		if s.Alive == no {
			label += ", but sessions in use expire"
		}
		commands = append(commands, bar{s.Name, s.Sent, label, ours})
	}
	if err := r.chart("latency.svg", "Time per load, two goroutines (log scale)", latency, nanoseconds); err != nil {
		return err
	}
	return r.chart("commands.svg", "Redis commands per 1,000 loads (log scale)", commands, number)
}

// chart draws bars from top to bottom. The scale is logarithmic: the values differ by a factor of a thousand and more.
func (r *results) chart(file, title string, bars []bar, unit func(float64) string) error {
	low, high := math.Inf(1), 0.0
	for _, b := range bars {
		if b.value > 0 {
			low, high = min(low, b.value), max(high, b.value)
		}
	}
	low = math.Pow(10, math.Floor(math.Log10(low/1.5)))
	decades := math.Ceil(math.Log10(high/low)) + 1 // one more, for the labels

	plot.DefaultFont.Variant = "Sans"
	p := plot.New()
	p.Title.Text, p.Title.Padding = title, vg.Points(8)
	p.X.Scale, p.X.Min, p.X.Max = plot.LogScale{}, low, low*math.Pow(10, decades)
	ticks := make(plot.ConstantTicks, 0, int(decades))
	for i := range int(decades) {
		at := low * math.Pow(10, float64(i))
		ticks = append(ticks, plot.Tick{Value: at, Label: round.Replace(unit(at))})
	}
	p.X.Tick.Marker = ticks
	names := make([]string, len(bars))
	for i, b := range bars {
		names[len(bars)-1-i] = b.name
	}
	p.NominalY(names...)
	p.Y.Min, p.Y.Max = -0.6, float64(len(bars))-0.4
	p.Y.Tick.Length, p.Y.Width = 0, 0
	p.Y.Padding = vg.Points(30) // the reader's font may be wider than the one used for the layout
	p.Add(barPlotter(bars))
	size := vg.Points(float64(22*len(bars) + 60))
	return p.Save(vg.Points(720), size, filepath.Join(r.out, file))
}

// barPlotter draws horizontal bars with labels. plotter.BarChart begins at zero, which no logarithmic scale has.
type barPlotter []bar

// Plot implements [plot.Plotter].
func (bars barPlotter) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	style := p.X.Tick.Label
	style.XAlign, style.YAlign = draw.XLeft, draw.YCenter
	for i, b := range bars {
		middle := y(float64(len(bars) - 1 - i))
		end := x(p.X.Min)
		if b.value > p.X.Min {
			end = x(b.value)
		}
		fill := othersColor
		if b.ours {
			fill = oursColor
		}
		half := vg.Points(7)
		c.SetColor(fill)
		c.Fill(vg.Rectangle{
			Min: vg.Point{X: x(p.X.Min), Y: middle - half}, Max: vg.Point{X: end, Y: middle + half},
		}.Path())
		c.FillText(style, vg.Point{X: end + vg.Points(4), Y: middle}, b.label)
	}
}

var round = strings.NewReplacer(".00", "", ".0", "") // ticks are powers of ten
