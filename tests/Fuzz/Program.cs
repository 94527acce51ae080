using TensorNets.Fuzz;

// Damages valid inputs of every reader in child processes, and kills programs that save or compress, alone or as workers.
//
//   Fuzz [READER] [--inputs N] [--kills N] [--resumes N] [--workers N] [--seed N]
//
// READER: spec-text, spec-json, layer, state, safetensors, model, onnx, kill, resume or workers; without it all of them. By default 7,000 inputs
// are shared by the readers, and 20 programs are killed. `dotnet run -c Release --project tests/Fuzz -- --inputs 100000 --kills 60` is the long run. Each
// reader counts as one test. `show READER N` writes input N of a reader (text in UTF-16).
if (args is ["child", var reader, var seed, var from, var count])
{
    return Child.Run(Readers.Named(reader), int.Parse(seed), int.Parse(from), int.Parse(count));
}

if (args is ["show", var shown, var which])
{
    Console.OpenStandardOutput().Write(Child.Input(Readers.Named(shown), Option("--seed", 1), int.Parse(which)));
    return 0;
}

if (args is ["save", var path]) return KillTest.SaveForEver(path);

if (args is ["compress", var work, var model]) return ResumeTest.Compress(work, model);

if (args is ["share", var shares, var worker]) return WorkersTest.Share(shares, worker);

int Option(string name, int fallback) => Array.IndexOf(args, name) is >= 0 and var at ? int.Parse(args[at + 1]) : fallback;

var one = args.FirstOrDefault(arg => Readers.Names.Contains(arg) || arg is "kill" or "resume" or "workers");
var names = one is null ? Readers.Names : [.. Readers.Names.Where(name => name == one)];
var inputs = Option("--inputs", 7_000);
var runs = names.Select(name => Parent.Run(name, Option("--seed", 1), (inputs + names.Count - 1) / names.Count)).ToList();
var passed = runs.Count(run => run);
var all = runs.Count;

if (one is null or "kill")
{
    all++;
    passed += KillTest.Run(Option("--kills", 20), Option("--seed", 1)) ? 1 : 0;
}

if (one is null or "resume")
{
    all++;
    passed += ResumeTest.Run(Option("--resumes", 5), Option("--seed", 1)) ? 1 : 0;
}

if (one is null or "workers")
{
    all++;
    passed += WorkersTest.Run(Option("--workers", 3), Option("--seed", 1)) ? 1 : 0;
}

Console.WriteLine($"{passed} passed, {all - passed} failed, 0 skipped");
return passed == all ? 0 : 1;
