package risk

import "math"

// The functions here give the same bits on every processor. Go may fuse a*b+c into one rounding (it does on
// arm64), and several functions of package math are written in assembler on some targets; so every product is
// rounded by an explicit conversion and only operations that IEEE 754 fixes to the last bit are used.

const (
	ln2Hi  = 6.93147180369123816490e-01
	ln2Lo  = 1.90821492927058770002e-10
	invLn2 = 1.44269504088896338700
)

var nan32 = float32(math.NaN())

func isNaN32(x float32) bool { return x != x }

// mul is a product that is rounded before anything is added to it.
func mul(a, b float64) float64 { return float64(a * b) }

// expTerms are 1/13!, 1/12!, ... 1/0!: on |r| <= ln2/2 the series is exact to the last places.
var expTerms = [...]float64{
	1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880,
	1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1, 1,
}

var logTerms = [...]float64{1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3, 1}

// exp is e to the x, 0 below -708 and the largest finite number above 709.
func exp(x float64) float64 {
	switch {
	case x != x:
		return x
	case x < -708:
		return 0
	case x > 709:
		return math.MaxFloat64
	}
	t := mul(x, invLn2)
	if t >= 0 {
		t += 0.5
	} else {
		t -= 0.5
	}
	k := int64(t) // truncation, so this rounds to nearest
	r := x - mul(float64(k), ln2Hi)
	r -= mul(float64(k), ln2Lo)
	s := expTerms[0]
	for _, c := range expTerms[1:] {
		s = mul(s, r) + c
	}
	return mul(s, math.Float64frombits(uint64(k+1023)<<52))
}

// log is the natural logarithm; it is NaN below zero, and the logarithm of the smallest normal number at zero.
func log(x float64) float64 {
	if x != x || x < 0 {
		return math.NaN()
	}
	if x < 0x1p-1022 {
		x = 0x1p-1022
	}
	bits := math.Float64bits(x)
	k := int64(bits>>52) - 1023
	m := math.Float64frombits(bits&(1<<52-1) | 1023<<52) // 1 <= m < 2
	if m > math.Sqrt2 {
		m = mul(m, 0.5)
		k++
	}
	// log m = 2 (z + z^3/3 + z^5/5 + ...) with z = (m-1)/(m+1), |z| <= 0.172
	z := (m - 1) / (m + 1)
	z2 := mul(z, z)
	s := logTerms[0]
	for _, c := range logTerms[1:] {
		s = mul(s, z2) + c
	}
	return mul(float64(k), ln2Hi) + (mul(float64(k), ln2Lo) + mul(2, mul(z, s)))
}

// sigmoid turns a logit into a probability.
func sigmoid(x float64) float64 {
	if x >= 0 {
		return 1 / (1 + exp(-x))
	}
	e := exp(x)
	return e / (1 + e)
}

// logit turns a probability into a logit; p is kept one millionth away from 0 and 1.
func logit(p float64) float64 {
	p = clamp(p, 1e-6, 1-1e-6)
	return log(p) - log(1-p)
}

func clamp(x, lo, hi float64) float64 {
	if x < lo {
		return lo
	}
	if x > hi {
		return hi
	}
	return x
}

// Logit is the logit of a probability, computed as scoring computes it; p is kept within [1e-6, 1-1e-6].
func Logit(p float64) float64 { return logit(p) }
