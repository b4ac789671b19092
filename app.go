package l4starttls

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// App has Caddy manage certificates for the hostnames of the starttls handlers, and ends
// their sessions when the process ends. The handlers load it themselves; it need not be
// configured.
type App struct {
	// How long sessions may go on when the process is to end. Then they get close_notify.
	// Negotiations, and TLS that is passed through, end at once. A reload ends nothing.
	// Default: `10s`. Zero ends at once.
	GracePeriod *caddy.Duration `json:"grace_period,omitempty"`

	logger *zap.Logger
	events *caddyevents.App
	ctx    caddy.Context
	tls    *caddytls.TLS
	names  map[string]struct{}
	cache  certificateCache
	any    []*certificateCheck // of handlers without hostnames
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "starttls", New: func() caddy.Module { return new(App) }}
}

// Provision sets up the app.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.names = make(map[string]struct{})
	if a.GracePeriod != nil {
		if err := checkDuration("grace_period", *a.GracePeriod); err != nil {
			return err
		}
	}
	if err := metrics.register(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	tlsApp, err := ctx.App("tls")
	if err != nil {
		return fmt.Errorf("getting tls app: %w", err)
	}
	a.tls = tlsApp.(*caddytls.TLS)
	if a.cache, err = newCertificateCache(ctx); err != nil {
		return err
	}
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting events app: %w", err)
	}
	a.events = events.(*caddyevents.App)
	return a.events.On("started", a)
}

// Start implements caddy.App. Apps start in no particular order, so nothing is
// done before all of them have: only then is it known which names are covered by
// sites, wildcards or loaded certificates.
func (a *App) Start() error { return nil }

// Stop implements caddy.App. The tls app forgets the certificates that the next
// configuration does not manage. Sessions go on, unless the process ends.
func (a *App) Stop() error {
	if caddy.Exiting() {
		sessions.stop(a.gracePeriod())
	}
	return nil
}

// defaultGracePeriod is that of App.GracePeriod.
const defaultGracePeriod = 10 * time.Second

func (a *App) gracePeriod() time.Duration {
	if a == nil || a.GracePeriod == nil {
		return defaultGracePeriod
	}
	return time.Duration(*a.GracePeriod)
}

// Handle has the certificates managed once all apps have started. Nothing of the
// kind happens to a configuration that is only validated or adapted.
func (a *App) Handle(context.Context, caddy.Event) error {
	currentApp.Store(a)
	a.manage()
	if !a.expectsCertificates() {
		for _, check := range a.any {
			check.checkAtStart()
		}
	}
	return nil
}

// manage has the certificates managed that Caddy does not have for another reason.
func (a *App) manage() {
	uncovered := make(map[string]struct{})
	for name := range a.names {
		if !a.tls.HasCertificateForSubject(name) {
			uncovered[name] = struct{}{}
		}
	}
	if len(uncovered) == 0 {
		return
	}
	if err := a.tls.Manage(uncovered); err != nil {
		a.logger.Error("managing certificates", zap.Error(err))
	}
}

// loadApp returns the app, which is loaded if it is not yet.
func loadApp(ctx caddy.Context) (*App, error) {
	app, err := ctx.App("starttls")
	if err != nil {
		return nil, fmt.Errorf("getting starttls app: %w", err)
	}
	return app.(*App), nil
}

// manageNames registers the names of a handler with the app.
func manageNames(ctx caddy.Context, names []string) (*App, error) {
	app, err := loadApp(ctx)
	if err != nil {
		return nil, err
	}
	return app, app.register(names)
}

// onDemand reports whether a certificate for the name is obtained during handshakes.
func (a *App) onDemand(name string) bool {
	for _, policy := range a.tls.Automation.Policies {
		if len(policy.Subjects()) == 0 || policyNames(policy, name) {
			return policyOnDemand(policy)
		}
	}
	return false
}

// policyOnDemand reports whether a policy obtains certificates during handshakes: itself, or
// from a manager (`get_certificate`), which is asked for each.
func policyOnDemand(policy *caddytls.AutomationPolicy) bool {
	return policy.OnDemand || len(policy.Managers) > 0
}

// policyNames reports whether a policy is for the name, and not just for all names.
func policyNames(policy *caddytls.AutomationPolicy, name string) bool {
	return slices.ContainsFunc(policy.Subjects(), func(subject string) bool { return certmagic.MatchWildcard(name, subject) })
}

// register asks for certificates for the hostnames of a handler, when it is
// provisioned.
func (a *App) register(hostnames []string) error {
	var internal, own []string
	for _, name := range hostnames {
		if _, ok := a.names[name]; ok {
			continue
		}
		a.names[name] = struct{}{}
		switch {
		case a.isNamed(name):
		case a.needsInternalIssuer(name):
			internal = append(internal, name)
		case a.catchAll().OnDemand:
			own = append(own, name)
		}
	}
	if err := a.useInternalIssuer(internal); err != nil {
		return err
	}
	return a.addPolicy(own, a.ownPolicy())
}

// isNamed reports whether a policy of the user's is for the name. It is obeyed then,
// whatever it says.
func (a *App) isNamed(name string) bool {
	return slices.ContainsFunc(a.tls.Automation.Policies, func(policy *caddytls.AutomationPolicy) bool { return policyNames(policy, name) })
}

// catchAll is the user's policy for all names, or an empty one.
func (a *App) catchAll() *caddytls.AutomationPolicy {
	for _, policy := range a.tls.Automation.Policies {
		if len(policy.Subjects()) == 0 {
			return policy
		}
	}
	return new(caddytls.AutomationPolicy)
}

// ownPolicy inherits all from the user's catch-all policy, but for obtaining certificates
// during handshakes: the names are known, as those of sites are, which get policies of
// their own, too.
func (a *App) ownPolicy() *caddytls.AutomationPolicy {
	policy := *a.catchAll()
	policy.OnDemand = false
	policy.ManagersRaw, policy.Managers = nil, nil
	return &policy
}

// needsInternalIssuer reports whether no public CA would sign for the name, and the
// user's policies do not have the internal CA sign everything. The
// rules are those that Caddy's HTTP app applies to the names of sites.
func (a *App) needsInternalIssuer(name string) bool {
	if allInternal(a.catchAll().Issuers) {
		return false
	}
	ip := certmagic.SubjectIsIP(name) && len(a.tls.Automation.Policies) == 0
	return ip || !certmagic.SubjectQualifiesForPublicCert(name)
}

func allInternal(issuers []certmagic.Issuer) bool {
	for _, issuer := range issuers {
		if _, ok := issuer.(*caddytls.InternalIssuer); !ok {
			return false
		}
	}
	return len(issuers) > 0
}

// useInternalIssuer adds a policy for the names. It inherits all but the issuer
// from the user's catch-all policy.
func (a *App) useInternalIssuer(names []string) error {
	if len(names) == 0 {
		return nil
	}
	issuer := new(caddytls.InternalIssuer)
	if err := issuer.Provision(a.ctx); err != nil {
		return fmt.Errorf("setting up internal issuer: %w", err)
	}
	policy := a.ownPolicy()
	policy.Issuers = []certmagic.Issuer{issuer}
	return a.addPolicy(names, policy)
}

func (a *App) addPolicy(names []string, policy *caddytls.AutomationPolicy) error {
	if len(names) == 0 {
		return nil
	}
	policy.SubjectsRaw = names
	if err := a.tls.AddAutomationPolicy(policy); err != nil {
		return fmt.Errorf("adding automation policy for %q: %w", names, err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.App           = (*App)(nil)
	_ caddy.Provisioner   = (*App)(nil)
	_ caddyevents.Handler = (*App)(nil)
)
