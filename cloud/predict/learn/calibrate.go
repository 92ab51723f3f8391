package learn

import "math"

// Platt fits p = sigmoid(slope*z + offset) to logits z, labels y (0 or 1) and weights w (nil: all 1), with the
// slight pull towards slope 1 and offset 0 that keeps small samples honest (prior counts as that many rows).
func Platt(z []float64, y, w []float32, prior float64) (slope, offset float64) {
	slope = 1
	for range 30 {
		ga, gb := -prior*(slope-1), -prior*0.1*offset
		haa, hbb, hab := prior, prior*0.1+1e-9, 0.0
		for i, v := range z {
			p, wt := sigmoid(slope*v+offset), 1.0
			if w != nil {
				wt = float64(w[i])
			}
			e, s := wt*(float64(y[i])-p), wt*p*(1-p)
			ga += e * v
			gb += e
			haa += s * v * v
			hab += s * v
			hbb += s
		}
		det := haa*hbb - hab*hab
		if det <= 1e-12 {
			break
		}
		da, db := (hbb*ga-hab*gb)/det, (haa*gb-hab*ga)/det
		slope += math.Max(-0.5, math.Min(0.5, da))
		offset += math.Max(-1, math.Min(1, db))
		slope = math.Max(0.05, slope)
		if math.Abs(da)+math.Abs(db) < 1e-7 {
			break
		}
	}
	return slope, offset
}
