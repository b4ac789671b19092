package l4starttls

import (
	"fmt"

	"github.com/spf13/cobra"
)

// setUpUsage has what is wrong with a command line come out as one line that says where help is,
// and the help say where there is more. An error that Caddy is given it puts into its log, as
// JSON where that is no terminal.
func setUpUsage(cmd *cobra.Command, arguments string, atLeast, atMost int) {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < atLeast:
			return usageError(cmd, fmt.Errorf("an argument is missing: %s", arguments))
		case len(args) > atMost:
			return usageError(cmd, fmt.Errorf("too many arguments: there is no place for %q behind %s", args[atMost], arguments))
		}
		return nil
	}
	cmd.SetFlagErrorFunc(usageError)
	cmd.SetHelpTemplate(cmd.HelpTemplate() + "\nFull documentation is available at:\n" +
		"https://github.com/l4starttls/caddy-l4-starttls/blob/main/docs/commands/" + cmd.Name() + ".md\n")
}

// usageError is for whoever has used a command as it should not be.
func usageError(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w; see '%s --help'", err, cmd.CommandPath())
}
