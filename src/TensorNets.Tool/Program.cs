using TensorNets.CSharp;
using TensorNets.Tool;

Native.HugePages();
return await Application.RunAsync(args, new Terminal(Console.Out, Console.Error));
