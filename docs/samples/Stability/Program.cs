using Spectre.Console;
using TensorNets.CSharp;
using TensorNets.Samples.Stability;

Native.HugePages();
return CommandLine.Create(options => Application.Run(options, AnsiConsole.Console)).Parse(args).Invoke();
