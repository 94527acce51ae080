using TensorNets.CSharp;
using TensorNets.Integration;
using TensorNets.Integration.OnnxFiles;
using TensorNets.Integration.OnnxFiles.Recognition;
using static Expecto.CSharp.Runner;

Native.Quiet();
return args is ["resnet18", .. var rest]
    ? RealNetworks.ResNet18(rest)
    : args is ["formats", .. var ratio]
    ? FormatTable.Run(ratio)
    : args is ["recognition", .. var study]
    ? StudyCommand.Run(study)
    : args is ["recognition-bits", .. var bits]
    ? StudyCommand.RunBits(bits)
    : args is ["ocr", .. var others]
    ? RealNetworks.Ocr(others)
    : Runner.Run(args, TestSequenced(TestList("Onnx", [
        ReadingTests.All, ChainTests.All, IntegerTests.All, WritingTests.All, TestDataTests.All, RecognitionTests.All,
        PublicSurfaceTests.Of(("TensorNets.Onnx", typeof(TensorNets.Onnx.OnnxModel).Assembly)),
    ])));
