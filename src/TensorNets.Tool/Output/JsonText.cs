using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace TensorNets.Tool.Output;

/// <summary>Results for programs: one JSON object with its schema's name first, names in camelCase, numbers that are not known as
/// null.</summary>
internal static class JsonText
{
    private static readonly JsonSerializerOptions Options = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        TypeInfoResolver = new DefaultJsonTypeInfoResolver(),
        Converters = { new Reals(), new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) },
    };

    /// <summary>A result as text.</summary>
    internal static string Of<T>(T result) => JsonSerializer.Serialize(result, Options);

    /// <summary>What a text in JSON says.</summary>
    internal static T? Read<T>(string text) => JsonSerializer.Deserialize<T>(text, Options);

    /// <summary>Numbers; those that JSON has not are null.</summary>
    private sealed class Reals : JsonConverter<double>
    {
        public override bool HandleNull => true;

        public override double Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options) =>
            reader.TokenType == JsonTokenType.Null ? double.NaN : reader.GetDouble();

        public override void Write(Utf8JsonWriter writer, double value, JsonSerializerOptions options)
        {
            if (double.IsFinite(value)) writer.WriteNumberValue(value);
            else writer.WriteNullValue();
        }
    }
}
