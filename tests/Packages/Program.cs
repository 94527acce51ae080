// Packs the libraries into a folder and uses them as a stranger would: projects in an empty home, outside of this repository.
// Packages of others come from this machine's cache where it has them. With TENSORNETS_EMPTY_CACHE=1 they are all fetched anew from its package
// source, and the seconds printed are those of a machine that has the SDK alone.
using TensorNets.Integration;
using TensorNets.Integration.Packages;
using static Expecto.CSharp.Runner;

using var stranger = new Lazily<Stranger>(() => new Stranger());
var tests = TestList("Packages", [PackageTests.All(stranger), ConsumerTests.All(stranger), ToolPackageTests.All(stranger)]);
return Runner.Run(args, TestSequenced(tests));
