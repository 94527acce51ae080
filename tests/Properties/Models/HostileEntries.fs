/// Every public function of the library, found by reflection.
module HostileEntries

open System
open System.Reflection
open System.Runtime.CompilerServices
open FSharp.Reflection
open TorchSharp
open TensorNets

/// A function or member under the name by which a call is replayed.
type Entry = { Name: string; Method: MethodInfo }

/// Members that are no functions of the library's, and why.
let private excluded =
    set
        [
            // Throws what it is given, by its purpose.
            "TensorNetErrorModule.raiseErrors"
            // Disposed by the draw.
            "Network.Dispose"
            // Hands a reader to the caller's function: `SafeTensorReader` and `load` are called.
            "SafeTensors.read"
        ]

let private isGenerated (m: MemberInfo) = m.IsDefined(typeof<CompilerGeneratedAttribute>, false)

/// Modules of F# and static classes of C#: all their functions. Classes of the library that are more than results: all their members but
/// those of every object.
let entries: Entry list =
    let statics = BindingFlags.Static ||| BindingFlags.Public ||| BindingFlags.DeclaredOnly
    let members = BindingFlags.Instance ||| BindingFlags.Public ||| BindingFlags.DeclaredOnly
    let data = set [ "Fit"; "ParetoPoint"; "ParetoFront"; "SensitivityPlan"; "PlanStep" ]
    let ofObject = set [ "ToString"; "GetHashCode"; "Equals"; "CompareTo"; "GetName" ]

    [
        for assembly in [ typeof<Spec>.Assembly; typeof<CSharp.FitOptions>.Assembly ] do
            for t in assembly.GetExportedTypes() do
                let isData =
                    data.Contains t.Name
                    || FSharpType.IsUnion t
                    || FSharpType.IsRecord t
                    || typeof<exn>.IsAssignableFrom t
                    || isGenerated t

                let methods =
                    if t.IsAbstract && t.IsSealed then t.GetMethods statics
                    elif isData || t.Assembly <> typeof<Spec>.Assembly || t.DeclaringType <> null then [||]
                    else t.GetMethods members

                for method in methods do
                    let name = $"{t.Name}.{method.Name}"

                    if not (isGenerated method || ofObject.Contains method.Name || excluded.Contains name) then
                        let types = [ for p in method.GetParameters() -> p.ParameterType.Name ]
                        { Name = $"""{name}({String.Join(",", types)})"""; Method = method }
    ]
    |> List.sortBy _.Name

let closed (method: MethodInfo) =
    if method.IsGenericMethodDefinition then
        method.MakeGenericMethod [| for _ in method.GetGenericArguments() -> typeof<Modules.Conv2d> |]
    else
        method

/// The function; "Files" where a path is one of the disk, which in a tree of modules it is not.
let owner (method: MethodInfo) =
    let inTree =
        [ "SurgeryModule"; "CompressModule"; "CalibrationModule"; "Surgery"; "Compress"; "Calibration" ]

    match (nonNull method.DeclaringType).Name, method.Name with
    | "Model", name when name.StartsWith "Save" || name.StartsWith "Load" -> "Files"
    | "Model", name -> name
    | t, name when List.contains t inTree -> name
    | _, name when method.GetParameters() |> Array.exists (fun p -> p.Name = "path") -> "Files"
    | _, name -> name
