using Spectre.Console;
using TensorNets.Samples.Transfer;

AnsiConsole.Profile.Width = Math.Max(AnsiConsole.Profile.Width, 140);
return CommandLine.Create(AnsiConsole.Console).Parse(args).Invoke();
