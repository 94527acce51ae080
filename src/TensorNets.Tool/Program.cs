using TensorNets.Tool;

return await Application.RunAsync(args, new Terminal(Console.Out, Console.Error));
