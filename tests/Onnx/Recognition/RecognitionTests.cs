using Expecto;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration.OnnxFiles.Recognition;

/// <summary>The study of text recognition: its measures, a small run of it, and the page that shows what it found.</summary>
internal static class RecognitionTests
{
    internal static Test All => TestList("recognition", [
        TestCase("repeats are one character unless nothing stands between them", Decodes),
        TestCase("edits are a metric, and count what was changed", CountsEdits),
        TestCase("a few lines are read, dense and compressed", ReadsLines),
        TestCase("the page has the table of the results in the repository", PageHasTable),
    ]);

    private static void Decodes()
    {
        string[] characters = ["a", "b", " "];
        Expect.Equal("aab a", Reader.Text([0, 1, 1, 0, 1, 2, 2, 3, 3, 0, 0, 1], characters));
        Expect.Equal("", Reader.Text([0, 0, 0], characters));
        Expect.Equal("", Reader.Text([], characters));
    }

    private static void CountsEdits()
    {
        var random = new Random(3);
        string Word() => string.Concat(Enumerable.Range(0, random.Next(7)).Select(_ => "abc"[random.Next(3)]));
        for (var i = 0; i < 300; i++)
        {
            var (a, b, c) = (Word(), Word(), Word());
            var edits = Reader.Edits(a, b);
            Expect.Equal(edits, Reader.Edits(b, a));
            Expect.Equal(a == b, edits == 0);
            Expect.True(edits <= Reader.Edits(a, c) + Reader.Edits(c, b), $"{a} {b} {c}");
            Expect.True(edits >= Math.Abs(a.Length - b.Length) && edits <= Math.Max(a.Length, b.Length), $"{a} {b}: {edits}");
            Expect.Equal(1, Reader.Edits(a, a.Insert(random.Next(a.Length + 1), "x")));
        }

        Expect.Equal(3, Reader.Edits("kitten", "sitting"));
        Expect.Equal(.5, Reader.Accuracy(["ab", ""], ["ab", "cd"]));
    }

    private static void ReadsLines()
    {
        var study = Study.Here(Expect.Skip)!;
        var result = study.Run([1.1], calibration: 4, test: 10, _ => { });
        var dense = result.Rows[0];
        Expect.True(dense.Accuracy > .8, $"accuracy {dense.Accuracy} of the dense network");
        foreach (var row in result.Rows.Skip(1))
        {
            Expect.True(row.Parameters < dense.Parameters && row.Accuracy > .4, $"{row}");
        }

        var bits = study.RunBits([8], ratio: 1.1, calibration: 4, test: 10, _ => { });
        Expect.Equal(4, bits.Rows.Count);
        foreach (var row in bits.Rows.Skip(1)) Expect.True(row.Bytes < bits.Rows[0].Bytes / 2 && row.Accuracy > .4, $"{row}");
    }

    private static void PageHasTable()
    {
        var page = File.ReadAllText(StudyCommand.At("docs", "recognition.md"));
        var result = ResultFile.Read<StudyResult>("recognition.json");
        Expect.True(page.Contains(string.Join("\n", result.Table())), "another table");
        Expect.True(page.Contains($"{result.Lines} lines"), "another number of lines");
        var bits = ResultFile.Read<BitsResult>("recognition-bits.json");
        Expect.True(page.Contains(string.Join("\n", bits.Table())), "another table of bits");
    }
}
