using TorchSharp;

NativeLog.ErrorsOnly();
Console.WriteLine($"libtorch {torch.__version__}");
