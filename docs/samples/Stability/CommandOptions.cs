using System.CommandLine;
using System.Globalization;

namespace TensorNets.Samples.Stability;

/// <summary>Options of command lines.</summary>
public static class CommandOptions
{
    /// <summary>An option with a default.</summary>
    public static Option<T> With<T>(string name, string description, T value) =>
        new(name) { Description = description, DefaultValueFactory = _ => value };

    /// <summary>A whole number of at least 1; null where none is given.</summary>
    public static Option<int?> AtLeastOne(string name, string description)
    {
        var option = new Option<int?>(name) { Description = description };
        option.Validators.Add(result =>
        {
            if (result.Tokens.Count > 0 && int.TryParse(result.Tokens[0].Value, CultureInfo.InvariantCulture, out var value) && value < 1)
            {
                result.AddError($"{name}: found {value}, expected at least 1.");
            }
        });
        return option;
    }
}
