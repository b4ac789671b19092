package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-analyze/charts"
)

// A chart is bars of proxies, a series for each kind of bar.
type chart struct {
	file, title string
	kinds       []string
	names       []string
	values      [][]float64 // by kind, then by name
}

// plot leaves the tables' medians as SVG.
func (r *results) plot(dir string) error {
	for _, c := range []*chart{r.connectionChart(), r.transferChart(), r.memoryChart()} {
		if len(c.names) == 0 {
			continue
		}
		if err := c.write(dir); err != nil {
			return fmt.Errorf("%s: %w", c.file, err)
		}
	}
	return nil
}

func (r *results) connectionChart() *chart {
	c := &chart{file: "connections.svg", title: "CPU seconds of the proxy for 1,000 connections"}
	for _, clients := range clientCounts {
		c.kinds = append(c.kinds, fmt.Sprintf("%d clients", clients))
	}
	for _, t := range r.lab.of("c") {
		if len(r.connections.of(t.name, 1).cpu) > 0 {
			c.add(t.name, r.connections.cpu(t.name, 1).median(), r.connections.cpu(t.name, 16).median(), r.connections.cpu(t.name, 64).median())
		}
	}
	return c
}

func (r *results) transferChart() *chart {
	c := &chart{file: "transfers.svg", title: "CPU seconds of the proxy for a GiB", kinds: []string{"1 stream", "4 streams"}}
	for _, m := range moves {
		for _, t := range r.lab.of("t") {
			if one := r.transfers.of(m.name, t.name, 1); len(one.cpu) > 0 {
				c.add(m.name+": "+t.name, one.cpu.median(), r.transfers.of(m.name, t.name, 4).cpu.median())
			}
		}
	}
	return c
}

func (r *results) memoryChart() *chart {
	c := &chart{file: "memory.svg", title: "KiB resident of a session that waits", kinds: []string{"as opened", "after traffic"}}
	for _, m := range r.idle {
		c.add(m.name, float64(m.opened.resident)/1024, float64(m.used.resident)/1024)
	}
	return c
}

func (c *chart) add(name string, values ...float64) {
	c.names = append(c.names, name)
	for len(c.values) < len(values) {
		c.values = append(c.values, nil)
	}
	for i, v := range values {
		c.values[i] = append(c.values[i], v)
	}
}

// write draws the bars, the first at the top.
func (c *chart) write(dir string) error {
	slices.Reverse(c.names)
	for _, values := range c.values {
		slices.Reverse(values)
	}
	o := charts.NewBarChartOptionWithData(c.values)
	o.Horizontal = true
	o.Title.Text = c.title
	o.Legend.SeriesNames = c.kinds
	o.Legend.Offset = charts.OffsetRight
	o.CategoryAxis = charts.CategoryAxisOption{Labels: c.names}
	o.Padding = charts.NewBoxEqual(16)
	p := charts.NewPainter(charts.PainterOptions{
		OutputFormat: charts.ChartOutputSVG, Width: 900, Height: 90 + len(c.names)*(12+9*len(c.kinds)),
	})
	if err := p.BarChart(o); err != nil {
		return err
	}
	svg, err := p.Bytes()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, c.file), svg, 0o644) //nolint:gosec // for everybody
}
