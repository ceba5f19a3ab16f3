package traffik

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParseRateGrammar(t *testing.T) {
	t.Parallel()
	const day, week = 24 * time.Hour, 7 * 24 * time.Hour
	for text, want := range map[string]Rate{
		"5/s":                          Per(5, time.Second),
		"100/min":                      Per(100, time.Minute),
		"5/10s":                        Per(5, 10*time.Second),
		"5/10 seconds":                 Per(5, 10*time.Second),
		"5/10   seconds":               Per(5, 10*time.Second),
		"100 per 5 minutes":            Per(100, 5*time.Minute),
		"100 per minute":               Per(100, time.Minute),
		"100 per 5minutes":             Per(100, 5*time.Minute),
		"100 per 5m30s":                Per(100, 5*time.Minute+30*time.Second),
		"100/1h30m":                    Per(100, 90*time.Minute),
		"1/1w2d3h4m5s6ms7us":           Per(1, week+2*day+3*time.Hour+4*time.Minute+5*time.Second+6007*time.Microsecond),
		"  100 / MIN\n":                Per(100, time.Minute),
		"100 PER 5 Minutes":            Per(100, 5*time.Minute),
		"100\tper\t5\tminutes":         Per(100, 5*time.Minute),
		"007/s":                        Per(7, time.Second),
		"9007199254740992/s":           Per(MaxUnits, time.Second),
		"1/9007199254740992us":         Per(1, MaxUnits*time.Microsecond),
		"unlimited":                    Unlimited,
		" UnLimited ":                  Unlimited,
		"1 per " + durText(5*60e9):     Per(1, 5*time.Minute), // "5m0s"
		"1 per " + durText(3600e9):     Per(1, time.Hour),     // "1h0m0s"
		"1 per " + durText(3601e9):     Per(1, 3601*time.Second),
		"1/" + durText(1500*1e3):       {}, // "1.5ms": parts of a unit are refused
		"1/" + durText(20*time.Hour):   Per(1, 20*time.Hour),
		"2/" + durText(10*time.Second): Per(2, 10*time.Second),
	} {
		got, err := ParseRate(text)
		if got != want || (err == nil) != (want != Rate{}) {
			t.Errorf("ParseRate(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
}

func durText(d time.Duration) string { return d.String() }

// A unit "M" may mean months. All other units mean the same in either case.
func TestParseRateRefusesM(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"100/M", "100/5M", "100/5 M", "100 per M", "100 PER 5 M", "100/5M30S", "100/1H30M"} {
		got, err := ParseRate(text)
		if !errors.Is(err, ErrRate) || got != (Rate{}) {
			t.Errorf("ParseRate(%q) = %v, %v; want an ErrRate", text, got, err)
			continue
		}
		for _, part := range []string{strconv.Quote(text), `"M"`, "months", `"min"`, "accepted is"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("ParseRate(%q): %v; want it to contain %s", text, err, part)
			}
		}
	}
	for text, want := range map[string]Rate{
		"100/m": Per(100, time.Minute), "100/S": Per(100, time.Second), "100/H": Per(100, time.Hour), "100/D": Per(100, 24*time.Hour),
		"100/W": Per(100, 7*24*time.Hour), "100/MS": Per(100, time.Millisecond), "100/US": Per(100, time.Microsecond),
		"100/ΜS": Per(100, time.Microsecond), "100/5m30S": Per(100, 5*time.Minute+30*time.Second),
	} {
		if got, err := ParseRate(text); got != want || err != nil {
			t.Errorf("ParseRate(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	var r Rate
	if err := r.UnmarshalText([]byte("1/M")); !errors.Is(err, ErrRate) {
		t.Errorf("UnmarshalText: %v, want an ErrRate", err)
	}
}

func TestParseRateUnits(t *testing.T) {
	t.Parallel()
	for names, length := range map[string]time.Duration{
		"us µs μs microsecond microseconds": time.Microsecond,
		"ms millisecond milliseconds":       time.Millisecond,
		"s sec second seconds":              time.Second,
		"m min minute minutes":              time.Minute,
		"h hr hour hours":                   time.Hour,
		"d day days":                        24 * time.Hour,
		"w week weeks":                      7 * 24 * time.Hour,
	} {
		for _, name := range strings.Fields(names) {
			for text, want := range map[string]Rate{
				"3/" + name:                  Per(3, length),
				"3/2" + name:                 Per(3, 2*length),
				"3/2 " + name:                Per(3, 2*length),
				"3 per " + name:              Per(3, length),
				"3 per 2 " + name:            Per(3, 2*length),
				strings.ToUpper("3/" + name): Per(3, length),
			} {
				if strings.HasSuffix(text, "/M") {
					continue // see TestParseRateRefusesM
				}
				if got, err := ParseRate(text); got != want || err != nil {
					t.Errorf("ParseRate(%q) = %v, %v; want %v", text, got, err, want)
				}
			}
		}
	}
}

func TestParseRateErrorsQuoteTheInput(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"5s", "5/5 m30s", "5 per 5 m30s", "5/10/s", "5.5/s", "-5/s", "+5/s", "5/", "5/x", "5/0s", "5/00m", "5/0m5s", "5/1.5s", "0/s", "", " ", "/", "/s", "5", "s", "per", "5 per",
		"per minute", "5 per per s", "5 a minute", "5/-1s", "5/+1s", "5/s s", "5/10", "5/10 10s", "5/s5", "5/m30s", "5/5m30", "5/5s5m", "5/5s5s", "5/5m s",
		"five/s", "5_0/s", "0x5/s", "1e3/s", "5/1e3s", "5/ms/s", "5//s", "5/mins", "5/month", "5/y", "infinite", "unlimited/s", "-1", "none",
		"9007199254740993/s", "99999999999999999999/s", "5/99999999999999999999s", "1/9007199254740993us", "1/15000w", "1/9223372036854775807w",
		"1/100000d15000w", "1/36028797018963969s", "٥/s", "5/ſ", "5\x00/s", "5 per 5 m 30 s",
	} {
		got, err := ParseRate(text)
		if err == nil {
			t.Errorf("ParseRate(%q) = %v, want an error", text, got)
			continue
		}
		if got != (Rate{}) {
			t.Errorf("ParseRate(%q) gives %v besides its error", text, got)
		}
		for _, part := range []string{strconv.Quote(text), "accepted", "100/min", "unlimited", "ms, s, min, h, d, w"} {
			if !errors.Is(err, ErrRate) || !strings.Contains(err.Error(), part) {
				t.Errorf("ParseRate(%q): %q does not say %s", text, err, part)
			}
		}
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestMustParseRate(t *testing.T) {
	t.Parallel()
	if got := MustParseRate("5/s"); got != Per(5, time.Second) {
		t.Errorf("%v", got)
	}
	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, ErrRate) {
			t.Errorf("panicked with %v", err)
		}
	}()
	MustParseRate("nonsense")
}

func TestPer(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		limit  int64
		period time.Duration
		says   string // "" for a valid rate
	}{
		{1, time.Microsecond, ""},
		{MaxUnits, MaxUnits * time.Microsecond, ""},
		{100, time.Minute, ""},
		{0, 0, "zero Rate"},
		{0, time.Second, "the limit is 0"},
		{-1, time.Second, "the limit is -1"},
		{-1, 0, "the limit is -1"}, // not Unlimited
		{MaxUnits + 1, time.Second, "2^53"},
		{math.MaxInt64, time.Second, "2^53"},
		{math.MinInt64, time.Second, "the limit is"},
		{5, 0, "the period is 0s"},
		{5, -time.Second, "the period is -1s"},
		{5, time.Nanosecond, "whole microseconds"},
		{5, time.Second + 1, "whole microseconds"},
		{5, math.MaxInt64, "285 years"},
		{5, (MaxUnits + 1) * time.Microsecond, "285 years"},
		{5, math.MinInt64, "positive"},
	} {
		r := Per(tc.limit, tc.period)
		err := r.Validate()
		if tc.says == "" {
			if err != nil || r.Limit() != tc.limit || r.Period() != tc.period || r.IsUnlimited() || r.IsZero() {
				t.Errorf("Per(%d, %v): %v, %+v", tc.limit, tc.period, err, r)
			}
			if r.units*(r.period.Microseconds()/r.micros) != tc.limit || gcd(r.units, r.micros) != 1 {
				t.Errorf("Per(%d, %v) is %d/%d in lowest terms", tc.limit, tc.period, r.units, r.micros)
			}
			continue
		}
		if !errors.Is(err, ErrRate) || !strings.Contains(err.Error(), tc.says) || r.IsUnlimited() {
			t.Errorf("Per(%d, %v): %v; want one that says %q", tc.limit, tc.period, err, tc.says)
		}
		if _, err := r.MarshalText(); err == nil {
			t.Errorf("Per(%d, %v) is invalid and marshals", tc.limit, tc.period)
		}
		if _, err := ParseRate(r.String()); err == nil {
			t.Errorf("ParseRate reads the invalid %q", r.String())
		}
	}
}

// TestMissingRateIsNotUnlimited: neither the zero Rate nor a limit of -1 is.
func TestMissingRateIsNotUnlimited(t *testing.T) {
	t.Parallel()
	var zero Rate
	if zero.IsUnlimited() || zero.Validate() == nil || !zero.IsZero() || Per(-1, 0) == Unlimited || Per(0, 0) != zero {
		t.Error("a missing rate is usable")
	}
	if !Unlimited.IsUnlimited() || Unlimited.Validate() != nil || Unlimited.IsZero() || Unlimited.Limit() != 0 || Unlimited.Period() != 0 {
		t.Errorf("Unlimited is %+v", Unlimited)
	}
}

func TestRatesAreComparable(t *testing.T) {
	t.Parallel()
	if Per(60, time.Minute) != MustParseRate("60 per 60 s") || Per(60, time.Minute) == Per(1, time.Second) {
		t.Error("== does not compare limit and period")
	}
	if m := map[Rate]int{Per(5, time.Second): 1}; m[MustParseRate("5/s")] != 1 {
		t.Error("equal rates are different map keys")
	}
}

func TestRateString(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]Rate{
		"100/min":                        Per(100, time.Minute),
		"5/10s":                          Per(5, 10*time.Second),
		"1/w":                            Per(1, 7*24*time.Hour),
		"1/2d":                           Per(1, 48*time.Hour),
		"9/90min":                        Per(9, 90*time.Minute),
		"9/1500ms":                       Per(9, 1500*time.Millisecond),
		"9/us":                           Per(9, time.Microsecond),
		"unlimited":                      Unlimited,
		"invalid rate (0 per 0s)":        {},
		"invalid rate (5 per -1s)":       Per(5, -time.Second),
		"9007199254740992/99999999999us": Per(MaxUnits, 99999999999*time.Microsecond),
	} {
		if got := r.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestRateAsTextAndJSON(t *testing.T) {
	t.Parallel()
	type config struct {
		Limit Rate
		Plans map[string]Rate
	}
	in := config{Per(100, 5*time.Minute), map[string]Rate{"gold": Unlimited, "free": Per(1, time.Microsecond)}}
	text := mustJSON(t, in)
	if want := `{"Limit":"100/5min","Plans":{"free":"1/us","gold":"unlimited"}}`; string(text) != want {
		t.Errorf("%s, want %s", text, want)
	}
	var out config
	if err := json.Unmarshal(text, &out); err != nil || out.Limit != in.Limit || out.Plans["gold"] != Unlimited || out.Plans["free"] != in.Plans["free"] {
		t.Errorf("%+v, %v", out, err)
	}
	kept := Per(7, time.Second)
	for _, bad := range []string{`"5s"`, `""`, `5`, `{}`, `"-1"`} {
		if err := json.Unmarshal([]byte(bad), &kept); err == nil || kept != Per(7, time.Second) {
			t.Errorf("%s: %v, rate now %v", bad, err, kept)
		}
	}
	if _, err := json.Marshal(Rate{}); !errors.Is(err, ErrRate) {
		t.Errorf("the zero Rate marshals: %v", err)
	}
}

func TestRateAsFlag(t *testing.T) {
	t.Parallel()
	var _ flag.Value = (*Rate)(nil)
	r := Per(7, time.Second)
	set := flag.NewFlagSet("app", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Var(&r, "limit", "the limit")
	if err := set.Parse([]string{"-limit", "100 per 5m30s"}); err != nil || r != Per(100, 330*time.Second) {
		t.Errorf("%v, %v", r, err)
	}
	if err := set.Parse([]string{"-limit", "5/0s"}); err == nil || r != Per(100, 330*time.Second) {
		t.Errorf("%v, %v", r, err)
	}
}

func FuzzParseRate(f *testing.F) {
	for _, seed := range []string{"5/s", "100 per 5m30s", "unlimited", "1/15000w", "1/9007199254740992us", "5/5m0s", "9/µs", "0/s", "5/1w1us"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRate(text)
		if err != nil {
			if !errors.Is(err, ErrRate) || r != (Rate{}) {
				t.Fatalf("%q: %v with error %v", text, r, err)
			}
			return
		}
		if err := r.Validate(); err != nil {
			t.Fatalf("%q gives an invalid rate: %v", text, err)
		}
		if again, err := ParseRate(r.String()); err != nil || again != r {
			t.Fatalf("%q: %v reads back as %v, %v", text, r, again, err)
		}
	})
}

// FuzzPer: String of every valid rate reads back.
func FuzzPer(f *testing.F) {
	f.Add(int64(5), int64(time.Second))
	f.Add(int64(MaxUnits), int64(MaxUnits)*1000)
	f.Add(int64(-1), int64(0))
	f.Fuzz(func(t *testing.T, limit, period int64) {
		r := Per(limit, time.Duration(period))
		again, err := ParseRate(r.String())
		if valid := r.Validate() == nil; valid != (err == nil) || valid && again != r {
			t.Fatalf("%+v reads back as %+v, %v", r, again, err)
		}
	})
}
