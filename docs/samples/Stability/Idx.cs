using System.Buffers.Binary;
using System.IO.Compression;

namespace TensorNets.Samples.Stability;

/// <summary>An array of bytes with its dimensions, as an IDX file holds it.</summary>
public sealed record IdxArray(IReadOnlyList<int> Dimensions, byte[] Values);

/// <summary>
/// Reader of IDX files of unsigned bytes: four bytes of magic number (0, 0, type, number of dimensions), each dimension as a big-endian
/// 32-bit number, then the values and nothing after them. A name that ends in <c>.gz</c> is decompressed.
/// </summary>
public static class Idx
{
    /// <summary>The type byte of unsigned bytes, the only type that the images and labels of this family use.</summary>
    private const int UnsignedByte = 0x08;

    /// <summary>The most values that a header may claim; the largest real file has 60,000 × 28 × 28 = 47 million.</summary>
    private const long MostValues = 1L << 30;

    /// <summary>A gzip file ends with the CRC and the length, modulo 2³², of what it holds: four bytes each.</summary>
    private const int GzipTrailer = 8;

    /// <summary>The values of the file, which must have <paramref name="dimensions"/> dimensions.</summary>
    /// <exception cref="DatasetException">Missing, truncated or oversized file, wrong magic number or dimensions.</exception>
    public static IdxArray Read(string file, int dimensions)
    {
        if (!File.Exists(file))
        {
            var found = Directory.Exists(file) ? "a folder" : "no such file";
            throw new DatasetException(file, "IDX file", found, $"an IDX file with {dimensions} dimension(s)");
        }

        return Parse(file, File.ReadAllBytes(file), dimensions);
    }

    /// <summary>The same of a file's bytes; errors call it by the name given.</summary>
    /// <exception cref="DatasetException">Truncated or oversized file, wrong magic number or dimensions.</exception>
    public static IdxArray Parse(string file, byte[] stored, int dimensions)
    {
        if (!file.EndsWith(".gz", StringComparison.OrdinalIgnoreCase))
        {
            using var plain = new MemoryStream(stored, writable: false);
            return ReadValues(file, plain, dimensions);
        }

        try
        {
            using var zipped = new GZipStream(new MemoryStream(stored, writable: false), CompressionMode.Decompress);
            var array = ReadValues(file, zipped, dimensions);
            CheckGzipEnd(file, stored, 4L * (1 + dimensions) + array.Values.LongLength);
            return array;
        }
        catch (InvalidDataException error)
        {
            throw new DatasetException(file, "compressed data", "damaged data", "a complete gzip file", error);
        }
    }

    private static IdxArray ReadValues(string file, Stream stream, int dimensions)
    {
        var header = new byte[4 * (1 + dimensions)];
        var got = stream.ReadAtLeast(header, header.Length, throwOnEndOfStream: false);
        if (got >= 4)
        {
            var magic = BinaryPrimitives.ReadUInt32BigEndian(header);
            var expected = (uint)(UnsignedByte << 8 | dimensions);
            if (magic != expected)
            {
                var meaning = $"0x{expected:X8} (unsigned bytes, {dimensions} dimension(s))";
                throw new DatasetException(file, "magic number", $"0x{magic:X8}", meaning);
            }
        }

        if (got < header.Length)
        {
            throw new DatasetException(file, "header", $"{got} bytes", $"{header.Length} bytes");
        }

        var shape = new int[dimensions];
        var values = 1L;
        for (var i = 0; i < dimensions; i++)
        {
            var size = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(4 * (1 + i)));
            values = size is 0 or > int.MaxValue ? 0 : values * size;
            if (values is 0 or > MostValues)
            {
                throw new DatasetException(file, $"dimension {i}", $"{size}", $"at least 1 and at most {MostValues} values in all");
            }

            shape[i] = (int)size;
        }

        return new IdxArray(shape, ReadExactly(file, stream, values, string.Join("×", shape)));
    }

    private static byte[] ReadExactly(string file, Stream stream, long count, string shape)
    {
        // A header can claim more than the file has, so the buffer grows with what is really there.
        using var buffer = new MemoryStream();
        var chunk = new byte[1 << 16];
        while (buffer.Length < count)
        {
            var read = stream.Read(chunk, 0, (int)Math.Min(chunk.Length, count - buffer.Length));
            if (read == 0)
            {
                throw new DatasetException(file, "truncated values", $"{buffer.Length} bytes", $"{count} bytes ({shape})");
            }

            buffer.Write(chunk, 0, read);
        }

        var excess = stream.Read(chunk, 0, chunk.Length);
        if (excess > 0)
        {
            throw new DatasetException(file, "bytes after the values", $"at least {count + excess} bytes", $"{count} bytes ({shape})");
        }

        return buffer.ToArray();
    }

    /// <summary>.NET ignores what follows the compressed data, and so what was appended to or cut from the end would pass unseen.</summary>
    private static void CheckGzipEnd(string file, byte[] stored, long length)
    {
        var found = stored.Length < GzipTrailer ? -1L : BinaryPrimitives.ReadUInt32LittleEndian(stored.AsSpan(stored.Length - 4));
        if (found != (length & 0xFFFFFFFFL))
        {
            throw new DatasetException(file, "length noted at the end of the gzip file", $"{found} bytes", $"{length} bytes");
        }
    }
}
