using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace TensorNets.Fuzz;

/// <summary>Damage to bytes, to text and to the structure of JSON, from a generator of random numbers.</summary>
internal static class Mutations
{
    private static readonly byte[] Edges = [0, 1, 2, 7, 8, 11, 12, 15, 16, 127, 128, 129, 254, 255];

    private static readonly string[] Parts =
        [",", "(", ")", "->", "→", "|", "=", ":", " ", "a", "rank ", "9", "-1", "2147483648", "2.5", "\ud800", "😀", "…", "\0", "\"", "{", "[", "}", "]", "\\u"];

    private static readonly string[] Values =
    [
        "null", "true", "-1", "0", "1", "2", "1.5", "1e999", "2147483647", "2147483648", "4294967296", "9223372036854775807", "1208925819614629174706176", "1500000000",
        "\"\"", "\"77\"", "\"F32\"", "\"F64\"", "\"BOOL\"", "\"\\ud800\"", "[]", "[0]", "[-1]", "[0,0]", "[4294967296,4294967296]", "{}", "{\"a\":1,\"a\":2}",
        "[[[[[[[[[[]]]]]]]]]]", "{\"version\":1}", "\"A\"", "\"bias\"", "\"ab, bc -> ac | a=1000000 b=1000000 c=1000000\"",
    ];

    private static T Any<T>(this Random random, IReadOnlyList<T> items) => items[random.Next(items.Count)];

    // One as often as several: it comes further.
    private static int Damages(Random random) => random.Next(2) == 0 ? 1 : random.Next(2, 5);

    /// <summary>One to four damages to bytes; <paramref name="other"/> lends pieces.</summary>
    internal static byte[] Bytes(Random random, byte[] valid, byte[] other)
    {
        var bytes = valid;
        for (var n = Damages(random); n > 0; n--) bytes = OneOfBytes(random, bytes, other);
        return bytes;
    }

    private static byte[] OneOfBytes(Random random, byte[] bytes, byte[] other)
    {
        // Half of the damage hits the front, where counts and lengths are.
        var at = random.Next(random.Next(2) == 0 ? bytes.Length + 1 : Math.Min(bytes.Length, 64) + 1);
        var end = Math.Min(bytes.Length, at + random.Next(1, 40));
        var inside = at < bytes.Length;
        var copy = (byte[])bytes.Clone();

        switch (random.Next(10))
        {
            case 0 when inside:
                copy[at] ^= (byte)(1 << random.Next(8));
                return copy;
            case 1 when inside:
                copy[at] = random.Any(Edges);
                return copy;
            case 2 when inside:
                copy[at] = (byte)random.Next(256);
                return copy;
            case 3:
                return bytes[..at];
            case 4:
                return [.. bytes[..at], .. bytes[end..]];
            case 5:
                return [.. bytes[..end], .. bytes[at..]];
            case 6:
                return [.. bytes[..at], .. new byte[random.Any([1, 3, 8, 1000])], .. bytes[at..]];
            case 7 when other.Length > 0:
                var from = random.Next(other.Length);
                return [.. bytes[..at], .. other[from..Math.Min(other.Length, from + random.Next(1, 200))], .. bytes[end..]];
            case 8 when bytes.Length - at >= 8:
                BinaryPrimitives.WriteInt64LittleEndian(copy.AsSpan(at), random.Any<long>([-1, long.MaxValue, int.MaxValue, 1L << 32, 100_000_000, bytes.Length - 8, bytes.Length]));
                return copy;
            case 9:
                return [.. bytes[..at], .. Enumerable.Repeat((byte)255, random.Next(1, 11)), (byte)random.Next(128), .. bytes[end..]];
            default:
                return copy;
        }
    }

    /// <summary>One to four damages to a text.</summary>
    internal static string Text(Random random, string valid, string other)
    {
        var text = valid;
        for (var n = Damages(random); n > 0; n--) text = OneOfText(random, text, other);
        return text;
    }

    private static string OneOfText(Random random, string text, string other)
    {
        var at = random.Next(text.Length + 1);
        var end = Math.Min(text.Length, at + random.Next(1, 12));

        return random.Next(7) switch
        {
            0 => text[..at] + text[end..],
            1 => text[..at] + random.Any(Parts) + text[at..],
            2 => text[..at] + random.Any(Parts) + text[end..],
            3 => text[..end] + text[at..],
            4 => text[..at] + string.Concat(Enumerable.Repeat(random.Any(Parts), random.Any([2, 30, 1000, random.Next(20) == 0 ? 100_000 : 5]))) + text[at..],
            5 when other.Length > 0 => text[..at] + other[random.Next(other.Length)..],
            _ => text[..at] + (char)random.Next(65536) + text[end..],
        };
    }

    /// <summary>JSON with one to four values replaced, removed, given twice or moved, or damaged as text.</summary>
    internal static string Json(Random random, string valid, string other)
    {
        if (random.Next(3) == 0) return Text(random, valid, other);
        var text = valid;

        for (var n = Damages(random); n > 0; n--)
        {
            try
            {
                text = Restructured(random, JsonNode.Parse(text)!);
            }
            catch (Exception problem) when (problem is JsonException or InvalidOperationException or ArgumentException)
            {
                return text;
            }
        }

        return text;
    }

    private static string Restructured(Random random, JsonNode root)
    {
        const string mark = "@@mark@@";
        var places = new List<JsonNode>();
        Collect(root, places);
        if (places.Count == 0) return root.ToJsonString();
        var place = random.Any(places);
        var value = random.Any(Values);

        switch (place)
        {
            case JsonArray array when random.Next(2) == 0:
                array.Add(mark);
                break;
            case JsonArray { Count: > 0 } array:
                array[random.Next(array.Count)] = mark;
                break;
            case JsonObject { Count: > 0 } pairs:
                var key = pairs.ElementAt(random.Next(pairs.Count)).Key;
                if (random.Next(4) == 0) pairs.Remove(key);
                else if (random.Next(4) == 0) return root.ToJsonString().Replace($"\"{key}\":", $"\"{key}\":{value},\"{key}\":");
                else pairs[key] = mark;
                break;
            case JsonObject pairs:
                pairs["a"] = mark;
                break;
        }

        return root.ToJsonString().Replace($"\"{mark}\"", value);
    }

    private static void Collect(JsonNode? node, List<JsonNode> places)
    {
        if (node is JsonArray or JsonObject) places.Add(node);
        if (node is JsonArray items) foreach (var item in items) Collect(item, places);
        if (node is JsonObject pairs) foreach (var pair in pairs) Collect(pair.Value, places);
    }

    /// <summary>A safetensors file with its header damaged as JSON, the JSON of a layer or a model in it among the rest, its length in
    /// front put right.</summary>
    internal static byte[] SafeTensors(Random random, byte[] valid, byte[] other)
    {
        if (random.Next(3) == 0) return Bytes(random, valid, other);
        var length = (int)BinaryPrimitives.ReadInt64LittleEndian(valid);
        var header = Encoding.UTF8.GetString(valid, 8, length);
        var otherHeader = Encoding.UTF8.GetString(other, 8, (int)BinaryPrimitives.ReadInt64LittleEndian(other));
        string damaged;

        var key = header.Contains("\"model\":", StringComparison.Ordinal) ? "model" : "layer";

        if (random.Next(2) == 0 && JsonNode.Parse(header)?["__metadata__"]?[key] is JsonValue text)
        {
            var root = JsonNode.Parse(header)!;
            root["__metadata__"]![key] = Json(random, text.GetValue<string>(), "");
            damaged = root.ToJsonString();
        }
        else
        {
            damaged = Json(random, header, otherHeader);
        }

        var bytes = Encoding.UTF8.GetBytes(damaged);
        var prefix = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(prefix, bytes.Length);
        return [.. prefix, .. bytes, .. valid[(8 + length)..]];
    }
}
