package l4starttls

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

type valueKey struct{}

func newNegotiationContext() *negotiationContext {
	return &negotiationContext{Context: context.WithValue(context.Background(), valueKey{}, "value")}
}

// Whoever waits for the end of it learns of it, before and afterwards, and of the first cause.
func TestNegotiationContextEnds(t *testing.T) {
	n := newNegotiationContext()
	require.NoError(t, n.Err())
	require.NoError(t, context.Cause(n))
	done := n.Done()
	require.Equal(t, done, n.Done(), "always the same")
	select {
	case <-done:
		t.Fatal("it has not ended")
	default:
	}
	n.end(upgrade.ErrShutdown)
	n.end(context.Canceled)
	<-done
	require.ErrorIs(t, context.Cause(n), upgrade.ErrShutdown)
	require.ErrorIs(t, n.Err(), upgrade.ErrShutdown)

	late := newNegotiationContext()
	late.end(upgrade.ErrShutdown)
	<-late.Done()
}

// It has the values of the connection's context, and the place for a ClientHello if there is one.
func TestNegotiationContextValues(t *testing.T) {
	n := newNegotiationContext()
	require.Equal(t, "value", n.Value(valueKey{}))
	require.Nil(t, n.Value(helloKey{}), "of an upstream, which has no client")
	n.hello = new(clientHello)
	require.Same(t, n.hello, context.WithoutCancel(n).Value(helloKey{}))
}

// Contexts that are made of it end with it, for its cause.
func TestContextsOfANegotiationContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNegotiationContext()
		child, cancel := context.WithTimeout(n, time.Minute)
		defer cancel()
		own, cancelOwn := context.WithCancel(n)
		cancelOwn()
		require.ErrorIs(t, own.Err(), context.Canceled)
		require.NoError(t, n.Err())
		n.end(upgrade.ErrShutdown)
		synctest.Wait()
		require.ErrorIs(t, context.Cause(child), upgrade.ErrShutdown)
		late, cancelLate := context.WithCancel(n)
		defer cancelLate()
		synctest.Wait()
		require.ErrorIs(t, context.Cause(late), upgrade.ErrShutdown)
	})
}

// A function is called once when it ends, or at once if it has, and not once it is stopped.
func TestFunctionsBehindANegotiationContext(t *testing.T) {
	for name, afterFunc := range map[string]func(*negotiationContext, func()) func() bool{
		"its own":   (*negotiationContext).AfterFunc,
		"context's": func(n *negotiationContext, f func()) func() bool { return context.AfterFunc(n, f) },
		"of a child's": func(n *negotiationContext, f func()) func() bool {
			return context.AfterFunc(context.WithValue(n, valueKey{}, ""), f)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNegotiationContext()
				called := make(chan string, 9)
				call := func(which string) func() { return func() { called <- which } }
				stops := []func() bool{afterFunc(n, call("first")), afterFunc(n, call("second")), afterFunc(n, call("third"))}
				require.True(t, stops[1]())
				require.False(t, stops[1](), "it is stopped already")
				n.end(upgrade.ErrShutdown)
				synctest.Wait()
				require.False(t, stops[0](), "it was called")
				stop := afterFunc(n, call("late"))
				synctest.Wait()
				require.False(t, stop())
				close(called)
				var all []string
				for which := range called {
					all = append(all, which)
				}
				require.ElementsMatch(t, []string{"first", "third", "late"}, all)
			})
		})
	}
}
