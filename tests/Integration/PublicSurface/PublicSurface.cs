using System.Reflection;
using System.Runtime.CompilerServices;
using Microsoft.FSharp.Core;
using Microsoft.FSharp.Reflection;

namespace TensorNets.Integration;

/// <summary>What an assembly shows its users, a line each: types, cases, fields, functions, members, with the types of their parameters.</summary>
internal static class PublicSurface
{
    private const BindingFlags Declared = BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    /// <summary>The lines of an assembly, sorted by type, then as the members stand.</summary>
    internal static IReadOnlyList<string> Of(Assembly assembly) =>
        [.. Items(assembly).Select(item => item.Line)];

    /// <summary>The public items of an assembly: the line of each and its name in the documentation file.</summary>
    internal static IEnumerable<(string Line, string DocId)> Items(Assembly assembly)
    {
        foreach (var type in assembly.GetExportedTypes().Where(type => !IsGenerated(type)).OrderBy(type => type.FullName, StringComparer.Ordinal))
        {
            if (IsCaseOrTags(type)) continue;

            yield return ($"{Kind(type)} {Name(type)}", $"T:{type.FullName!.Replace('+', '.')}");
            foreach (var item in Members(type)) yield return ($"    {item.Line}", item.DocId);
        }
    }

    private static bool IsUnion(Type type) => FSharpType.IsUnion(type, FSharpOption<BindingFlags>.None);

    private static bool IsRecord(Type type) => FSharpType.IsRecord(type, FSharpOption<BindingFlags>.None);

    private static bool IsModule(Type type) => type.IsAbstract && type.IsSealed;

    /// <summary>A case of a union is a nested type of its own, and so is the list of its tags.</summary>
    private static bool IsCaseOrTags(Type type) => type.DeclaringType is { } owner && IsUnion(owner);

    private static bool IsGenerated(MemberInfo member) => member.GetCustomAttribute<CompilerGeneratedAttribute>() is not null || member.Name.Contains('@');

    private static string Kind(Type type) =>
        IsModule(type) ? "module" :
        IsUnion(type) ? "union" :
        IsRecord(type) ? "record" :
        type.IsEnum ? "enum" :
        type.IsInterface ? "interface" :
        type.IsValueType ? "struct" : "class";

    private static IEnumerable<(string Line, string DocId)> Members(Type type)
    {
        var docName = type.FullName!.Replace('+', '.');
        if (type.IsEnum)
        {
            foreach (var name in Enum.GetNames(type)) yield return (name, $"F:{docName}.{name}");
            yield break;
        }

        if (IsUnion(type))
        {
            foreach (var unionCase in FSharpType.GetUnionCases(type, FSharpOption<BindingFlags>.None))
            {
                var fields = unionCase.GetFields().Select(field => $"{field.Name}: {Name(field.PropertyType)}").ToList();
                var list = fields.Count == 0 ? "" : $"({string.Join(", ", fields)})";
                yield return ($"| {unionCase.Name}{list}", $"T:{docName}.{unionCase.Name}|P:{docName}.{unionCase.Name}");
            }
        }

        foreach (var constructor in type.GetConstructors(Declared).Where(c => !IsGenerated(c) && !IsRecord(type)))
        {
            yield return ($"new({Parameters(constructor)})", $"M:{docName}.#ctor");
        }

        foreach (var property in type.GetProperties(Declared).Where(p => !IsGenerated(p) && !IsOfUnion(type, p)))
        {
            yield return ($"{Static(type, property.GetMethod)}{property.Name}: {Name(property.PropertyType)}", $"P:{docName}.{property.Name}");
        }

        foreach (var method in type.GetMethods(Declared).Where(m => !IsGenerated(m) && !m.IsSpecialName && !IsOfUnion(type, m) && !IsInherited(m)))
        {
            yield return ($"{Static(type, method)}{Printed(method)}", $"M:{docName}.{method.Name}");
        }
    }

    /// <summary>What every union has beside its cases: tags, tests, makers.</summary>
    private static bool IsOfUnion(Type type, MemberInfo member) =>
        IsUnion(type)
        && (member.Name is "Tag"
            || member.GetCustomAttribute<CompilationMappingAttribute>() is not null
            || FSharpType.GetUnionCases(type, FSharpOption<BindingFlags>.None).Any(c => member.Name == c.Name || member.Name == "Is" + c.Name || member.Name == "New" + c.Name));

    private static bool IsInherited(MethodInfo method) =>
        method.GetBaseDefinition().DeclaringType != method.DeclaringType || method.Name is "Equals" or "GetHashCode" or "CompareTo";

    private static string Static(Type type, MethodInfo? method) => method is { IsStatic: true } && !IsModule(type) ? "static " : "";

    private static string Printed(MethodInfo method)
    {
        var generic = method.IsGenericMethodDefinition ? $"<{string.Join(", ", method.GetGenericArguments().Select(Name))}>" : "";
        return $"{method.Name}{generic}({Parameters(method)}): {Name(method.ReturnType)}";
    }

    private static string Parameters(MethodBase method) =>
        string.Join(", ", method.GetParameters().Select(p => $"{p.Name}: {Name(p.ParameterType)}{(p.IsOptional ? " = …" : "")}"));

    /// <summary>A type as F# writes it, without namespaces.</summary>
    private static string Name(Type type)
    {
        if (type.IsArray) return $"{Name(type.GetElementType()!)}[]";
        if (type == typeof(void) || type == typeof(Unit)) return "unit";
        if (type.IsGenericParameter) return $"'{type.Name}";

        var plain = type.Name.Split('`')[0];
        if (plain.EndsWith("Module", StringComparison.Ordinal) && IsModule(type)) plain = plain[..^"Module".Length];
        if (!type.IsGenericType) return plain;

        var arguments = type.GetGenericArguments().Select(Name).ToList();
        return plain switch
        {
            "FSharpFunc" => $"({arguments[0]} -> {arguments[1]})",
            "FSharpList" => $"{arguments[0]} list",
            "FSharpOption" => $"{arguments[0]} option",
            "FSharpResult" => $"Result<{string.Join(", ", arguments)}>",
            "FSharpMap" => $"Map<{string.Join(", ", arguments)}>",
            "Tuple" or "ValueTuple" => $"({string.Join(" * ", arguments)})",
            _ => $"{plain}<{string.Join(", ", arguments)}>",
        };
    }
}
