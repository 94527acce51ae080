using Spectre.Console;
using TensorNets.Samples.Stability;

return CommandLine.Create(options => Application.Run(options, AnsiConsole.Console)).Parse(args).Invoke();
