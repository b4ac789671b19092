package dialogue

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fed is a lane that has been fed something, of which so much is passed on where it lies.
func fed(said string, passes ...string) *lane {
	l := new(lane)
	l.arrive([]byte(said))
	for _, p := range passes {
		at := strings.Index(said, p)
		l.pass(l.input[at : at+len(p)])
		l.consume(at + len(p) - l.at)
	}
	return l
}

func TestLanePassesWhereItLies(t *testing.T) {
	said := []byte("one two three")
	l := new(lane)
	l.arrive(said)
	for _, size := range []int{4, 4, 5} {
		l.pass(l.rest()[:size])
		l.consume(size)
	}
	out := l.settleAll()
	require.Equal(t, "one two three", string(out))
	require.Same(t, &said[0], &out[0])
	require.True(t, l.empty())
}

func TestLaneCopiesWhatDoesNotLieThere(t *testing.T) {
	for name, test := range map[string]struct {
		build func() *lane
		want  string
	}{
		"a part left out": {func() *lane { return fed("one two three", "one ", "three") }, "one three"},
		"the first part left out": {func() *lane {
			l := fed("one two")
			l.consume(4)
			l.pass(l.rest())
			l.consume(3)
			return l
		}, "two"},
		"something in front": {func() *lane {
			l := fed("two")
			l.pass([]byte("one "))
			l.pass(l.rest())
			l.consume(3)
			return l
		}, "one two"},
		"something behind": {func() *lane {
			l := fed("one ", "one ")
			l.pass([]byte("two"))
			return l
		}, "one two"},
		"something amid": {func() *lane {
			l := fed("onethree", "one")
			l.pass([]byte(" two "))
			l.pass(l.rest())
			l.consume(5)
			return l
		}, "one two three"},
		"the same twice": {func() *lane { return fed("one", "one", "one") }, "oneone"},
		"nothing":        {func() *lane { return fed("one") }, ""},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, string(test.build().settleAll())) })
	}
}

// What has not been consumed is a copy: whoever said it has its buffer back.
func TestLaneKeepsACopy(t *testing.T) {
	said := []byte("one two")
	l := new(lane)
	l.arrive(said)
	l.pass(l.rest()[:4])
	l.consume(4)
	require.Equal(t, "one ", string(l.settleAll()))
	copy(said, "xxxxxxx")
	l.arrive([]byte(" three"))
	require.Equal(t, "two three", string(l.rest()))
	l.passRest()
	require.Equal(t, "two three", string(l.settleAll()))
	require.True(t, l.empty())
}

// A reader's own buffer is filled from what lies in it, whatever was left out in front.
func TestLaneSettlesIntoItsInput(t *testing.T) {
	said := []byte("one two three")
	l := new(lane)
	l.arrive(said)
	l.consume(4)
	l.pass(l.rest()[:4])
	l.consume(4)
	require.Equal(t, 4, l.settle(said))
	require.Equal(t, "two ", string(said[:4]))
	require.Equal(t, "three", string(l.arrived))
}

// What there is no room for is delivered later, in its order.
func TestLaneWithoutRoom(t *testing.T) {
	l := fed("one two three", "one two three")
	out := make([]byte, 4)
	require.Equal(t, 4, l.settle(out))
	require.Equal(t, "one ", string(out))
	l.arrive([]byte(" four"))
	l.passRest()
	require.Equal(t, 4, l.settle(out))
	require.Equal(t, "two ", string(out))
	require.Equal(t, 4, l.take(out))
	require.Equal(t, "thre", string(out))
	require.Equal(t, "e four", string(l.takeAll()))
	require.True(t, l.empty())
	require.Zero(t, l.take(out))
}

// What is delivered cannot grow over what is kept behind it.
func TestLaneDeliversNoMoreThanItHas(t *testing.T) {
	l := fed("one two", "one ")
	out := l.settleAll()
	_ = append(out, "xxx"...)
	require.Equal(t, "two", string(l.arrived))
	require.Equal(t, len(out), cap(out))
}

func TestLaneConsumesNoMoreThanThereIs(t *testing.T) {
	l := fed("one")
	require.True(t, l.consume(1<<20))
	require.False(t, l.more())
	require.False(t, l.consume(0))
	require.Empty(t, l.rest())
}

// empty reports whether the lane holds nothing of anybody's.
func (l *lane) empty() bool { return l.arrived == nil && l.passed == nil && l.input == nil }
