namespace TensorNets

open System
open System.Reflection
open TorchSharp.Utils
open type TorchSharp.torch

/// TorchSharp's own tables of children and hooks in a module, which it gives no access to: they are read by reflection.
[<RequireQualifiedAccess>]
module internal ModuleTables =
    let private instance = BindingFlags.Instance ||| BindingFlags.Public ||| BindingFlags.NonPublic

    let private missing (name: string) =
        let found = typeof<nn.Module>.Assembly.GetName().Version
        TensorNetError.Unsupported("TorchSharp", $"{found}, whose nn.Module has no '{name}' of the kind needed", "TorchSharp 0.107")

    /// TorchSharp's own table of the named children of a module, by the name of the private field.
    let table (field: string) (owner: nn.Module) : Result<OrderedDict<string, nn.Module>, TensorNetError> =
        match typeof<nn.Module>.GetField(field, instance) with
        | null -> Error(missing field)
        | info ->
            match info.GetValue owner with
            | :? OrderedDict<string, nn.Module> as children -> Ok children
            | _ -> Error(missing field)

    /// The act of registering a module's fields, which TorchSharp does for a child when the child is registered.
    let registration (method: string) (owner: nn.Module) : Result<unit -> unit, TensorNetError> =
        match typeof<nn.Module>.GetMethod(method, instance, Type.EmptyTypes) with
        | null -> Error(missing method)
        | info -> Ok(fun () -> info.Invoke(owner, null) |> ignore)

    let private hookTables = [ "pre_hooks"; "post_hooks"; "module_pre_hooks"; "module_post_hooks" ]

    /// Gives a module the tables of forward hooks of another: what is registered there runs here, and what removes it there removes it
    /// here.
    let shareHooks (from: nn.Module<Tensor, Tensor>) (into: nn.Module<Tensor, Tensor>) : Result<unit, TensorNetError> =
        let all = SubmoduleFields.fields typeof<nn.Module<Tensor, Tensor>>

        match hookTables |> List.tryFind (fun name -> all |> List.forall (fun field -> field.Name <> name)) with
        | Some name -> Error(missing name)
        | None ->
            for field in all do
                if List.contains field.Name hookTables then
                    field.SetValue(into, field.GetValue from)

            Ok()
