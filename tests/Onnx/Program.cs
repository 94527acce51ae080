using TensorNets.CSharp;
using TensorNets.Integration;
using TensorNets.Integration.OnnxFiles;
using static Expecto.CSharp.Runner;

Native.Quiet();
return Runner.Run(args, TestSequenced(TestList("Onnx", [ReadingTests.All, TestDataTests.All])));
