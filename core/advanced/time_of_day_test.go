package advanced

import (
	"testing"
	"time"
	_ "time/tzdata" // the same zones on every machine

	traffik "github.com/traffik-go/traffik/core"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// nights halve the limit from 22 to 6.
func nights(loc *time.Location) TimeOfDay {
	return TimeOfDay{Location: loc, Hours: []Hours{
		{From: 22, To: 6, Factor: Percent(50)},
		{From: 6, To: 22, Factor: Whole},
	}}
}

func TestTimeOfDaySteps(t *testing.T) {
	t.Parallel()
	const hour = 3600 * s
	runSteps(t, nights(nil), traffik.Per(10, 12*time.Hour), []takeStep{
		{at: 5 * hour, cost: 5, limit: 5, remaining: 0, reset: 7 * hour},
		{at: 5 * hour, cost: 1, limit: 5, remaining: 0, retry: hour, reset: 7 * hour},
		{at: 5 * hour, cost: 6, limit: 5, remaining: 0, retry: 7 * hour, reset: 7 * hour},
		{at: 5 * hour, cost: 11, limit: 5, remaining: 0, retry: never, reset: 7 * hour},
		{at: 6 * hour, cost: 5, remaining: 0, reset: 6 * hour},
		{at: 12 * hour, cost: 6, remaining: 4, reset: 12 * hour},
		// Across the boundary the count is one, and the limit that of the instant.
		{at: 22 * hour, cost: 1, limit: 5, remaining: 0, retry: 2 * hour, reset: 2 * hour},
		// The next window begins at night: a cost for the day waits until 6.
		{at: 22 * hour, cost: 6, limit: 5, remaining: 0, retry: 8 * hour, reset: 2 * hour},
	})
}

// On the days of a change the hours are those on the wall: each line is a
// minute before and after a boundary.
func TestTimeOfDayOnDaysOfChange(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		zone, utc string
		limit     int64
	}{
		// Spring: 2:00 CET is 3:00 CEST. Night ends at 6:00 CEST = 4:00 UTC.
		{"Europe/Berlin", "2026-03-28T04:59:00Z", 5},
		{"Europe/Berlin", "2026-03-28T05:00:00Z", 10},
		{"Europe/Berlin", "2026-03-29T03:59:00Z", 5},
		{"Europe/Berlin", "2026-03-29T04:00:00Z", 10},
		{"Europe/Berlin", "2026-03-29T19:59:00Z", 10},
		{"Europe/Berlin", "2026-03-29T20:00:00Z", 5},
		// Autumn: 3:00 CEST is 2:00 CET again.
		{"Europe/Berlin", "2026-10-25T04:59:00Z", 5},
		{"Europe/Berlin", "2026-10-25T05:00:00Z", 10},
		{"America/New_York", "2026-03-08T09:59:00Z", 5},
		{"America/New_York", "2026-03-08T10:00:00Z", 10},
		{"America/New_York", "2026-11-01T10:59:00Z", 5},
		{"America/New_York", "2026-11-01T11:00:00Z", 10},
		// Lord Howe changes by half an hour: from +10:30 to +11 and back.
		{"Australia/Lord_Howe", "2026-10-03T18:59:00Z", 5},
		{"Australia/Lord_Howe", "2026-10-03T19:00:00Z", 10},
		{"Australia/Lord_Howe", "2026-04-04T19:29:00Z", 5},
		{"Australia/Lord_Howe", "2026-04-04T19:30:00Z", 10},
	} {
		at, err := time.Parse(time.RFC3339, tc.utc)
		if err != nil {
			t.Fatal(err)
		}
		k := &storedKey{strategy: nights(zone(t, tc.zone))}
		d := traffik.Draw{Rate: traffik.Per(10, time.Minute), Now: traffik.InstantOf(at)}
		if dec := k.draw(d); dec.Limit != tc.limit {
			t.Errorf("%s at %s (%v): a limit of %d, want %d", tc.zone, tc.utc, at.In(zone(t, tc.zone)), dec.Limit, tc.limit)
		}
	}
}

// The wait until an hour with room is exact over the changes too: at midnight
// before each, a cost for the hour of the change and those around it.
func TestTimeOfDayRetryAfterOnDaysOfChange(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe"} {
		loc := zone(t, name)
		for day := time.Date(2026, 1, 1, 0, 0, 0, 0, loc); day.Year() == 2026; day = day.AddDate(0, 0, 1) {
			_, before := day.Zone()
			if _, after := day.AddDate(0, 0, 1).Zone(); after == before {
				continue
			}
			for only := range 6 {
				checkOnlyHour(t, loc, day, only)
			}
		}
	}
}

// Newfoundland used to change its clocks at one minute past midnight: to 1:01,
// where no full hour is, and back to 23:01.
func TestTimeOfDayChangeBetweenFullHours(t *testing.T) {
	t.Parallel()
	loc := zone(t, "America/St_Johns")
	for only := range 3 {
		checkOnlyHour(t, loc, time.Date(2010, 3, 14, 0, 0, 0, 0, loc), only)
		checkOnlyHour(t, loc, time.Date(2010, 11, 7, 0, 0, 0, 0, loc), only)
	}
}

// checkOnlyHour lets only one hour admit the cost, and compares the wait with a
// walk over the minutes.
func checkOnlyHour(t *testing.T, loc *time.Location, day time.Time, only int) {
	t.Helper()
	strategy := TimeOfDay{Location: loc, Hours: []Hours{{From: only, To: only + 1, Factor: Whole}}}
	strategy.Hours = append(strategy.Hours, Hours{From: only + 1, To: only, Factor: Percent(10)})
	if err := strategy.Validate(); err != nil {
		t.Fatal(err)
	}
	start := day.Add(-30 * time.Minute)
	want := start
	for want.Hour() != only {
		want = want.Add(time.Minute)
	}
	d := traffik.Draw{Rate: traffik.Per(10, time.Second), Cost: 10, Now: traffik.InstantOf(start)}
	dec := (&storedKey{strategy: strategy}).draw(d)
	if dec.RetryAfter != want.Sub(start) {
		t.Errorf("from %v until hour %d: %v, want %v", start, only, dec.RetryAfter, want.Sub(start))
	}
}

func TestTimeOfDayDescribe(t *testing.T) {
	t.Parallel()
	strategy := nights(nil)
	d := traffik.Draw{Rate: traffik.Per(10, time.Hour), Cost: 2, Now: epoch}
	next, _ := strategy.Decide(nil, nil, &d)
	want := HoursInfo{
		WindowInfo: traffik.WindowInfo{Start: epoch.Time(), End: epoch.Time().Add(time.Hour), Limit: 5, Used: 2},
		Hours:      Hours{From: 22, To: 6, Factor: Percent(50)},
	}
	if got := strategy.Describe(next, &d); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// On the last day of a leap year every zone's hours end as on other days.
func TestTimeOfDayAtTheEndOfALeapYear(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		s := TimeOfDay{Location: zone, Hours: []Hours{{From: 8, To: 20, Factor: Whole}, {From: 20, To: 8, Factor: 100_000}}}
		for _, year := range []int{2028, 2056} {
			k := &storedKey{strategy: s}
			evening := time.Date(year, time.December, 31, 21, 30, 0, 0, zone)
			d := traffik.Draw{Rate: traffik.Per(10, time.Minute), Cost: 5, Now: traffik.InstantOf(evening)}
			if dec := k.draw(d); dec.Allowed || dec.RetryAfter != 10*time.Hour+30*time.Minute {
				t.Errorf("%s, %d: %+v, want denied until eight in the morning", name, year, dec)
			}
		}
	}
}
