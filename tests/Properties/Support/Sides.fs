/// Laws that hold with kernels hold without them.
[<RequireQualifiedAccess>]
module Sides

open Expecto
open TensorNets

/// The same tests while kernels are off for them; none where they are off anyway.
let withoutKernels (tests: Test list) : Test =
    let off (code: TestCode) : TestCode =
        let suspended (act: Async<unit>) =
            async {
                use _ = KernelSwitch.suspend ()
                return! act
            }

        match code with
        | Sync act -> Sync(fun () -> Kernels.withoutKernels act)
        | SyncWithCancel act -> SyncWithCancel(fun token -> Kernels.withoutKernels (fun () -> act token))
        | Async act -> Async(suspended act)
        | AsyncFsCheck(config, stress, act) -> AsyncFsCheck(config, stress, (fun config -> suspended (act config)))

    testList
        "without kernels"
        (if Kernels.isOn () then
             tests
             |> List.map (Test.replaceTestCode (fun name code -> TestLabel(name, TestCase(off code, FocusState.Normal), FocusState.Normal)))
         else
             [])
