using TensorNets.CSharp;
using TensorNets.Integration;
using TensorNets.Integration.Tool;
using static Expecto.CSharp.Runner;

Native.Quiet();
return Runner.Run(args, TestList("Tool", [
    CommandTests.All, CompressTests.All, GraphTests.All, DataFolderTests.All, SchemaTests.All, SignalTests.All, PageTests.All, ClusterTests.All,
    ManifestTests.All,
]));
