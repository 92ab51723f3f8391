package predict

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// village makes homes whose gateway loses packets for a minute before each fault. In a stranger village it is the
// resolver that fails.
func village(homes int, seed uint64, strange bool) Histories {
	var out Histories
	names := []string{"gateway.loss_ratio", "gateway.rtt_ms", "dns.latency_ms{10.0.0.1}", "dns.active{10.0.0.1}", "cpu.busy_ratio"}
	for n := range homes {
		rng := rand.New(rand.NewPCG(seed, uint64(n)))
		var faults []Fault
		for at := 600 + 300*rng.Float64(); at < 3500; at += 500 + 600*rng.Float64() {
			faults = append(faults, Fault{From: at, To: at + 40, Kind: "loss"})
		}
		usual := 2 + 20*rng.Float64() // every home has its own normal
		var samples []Sample
		for at := 0.0; at < 3600; at += 2 {
			ill := 0.0
			for _, f := range faults {
				if at > f.From-60 && at <= f.To {
					ill = math.Min(1, (at-f.From+60)/60)
				}
			}
			v := []float64{0.01 * rng.Float64(), usual * (1 + 0.1*rng.NormFloat64()), 15 + rng.NormFloat64(), 1, rng.Float64()}
			if strange {
				v[2] += 400 * ill
			} else {
				v[0] += 0.3 * ill * rng.Float64()
				v[1] += 40 * ill
			}
			if rng.Float64() < 0.05 {
				v[rng.IntN(3)] = math.NaN()
			}
			samples = append(samples, Sample{At: at, Metrics: names, Values: v})
		}
		out = append(out, History{
			Device: fmt.Sprint("hub-", n), Home: fmt.Sprint("home-", n), Faults: faults,
			Samples: func(yield func(Sample) bool) {
				for _, s := range samples {
					if !yield(s) {
						return
					}
				}
			},
		})
	}
	return out
}

func hubPlan() Plan {
	return Plan{Name: "village", Version: 1, Horizon: 30, Input: HubInput(5, 600), Warmup: 120, Every: 4, Settle: 30, MinAge: 60, Seed: 1}
}
