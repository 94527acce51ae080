using Spectre.Console;
using TensorNets.CSharp;
using TensorNets.Samples.Transfer;

Native.HugePages();
AnsiConsole.Profile.Width = Math.Max(AnsiConsole.Profile.Width, 140);
return CommandLine.Create(AnsiConsole.Console).Parse(args).Invoke();
