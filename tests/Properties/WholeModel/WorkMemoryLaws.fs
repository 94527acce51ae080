/// Layers side by side within a bound of memory.
module WorkMemoryLaws

open System.Diagnostics
open System.IO
open System.Threading
open Expecto
open TorchSharp
open TensorNets
open Generators
open SmallModels

let private room =
    testPropertyWithConfig
        { config with maxTest = 40 }
        "work side by side never takes more room than there is, unless one item alone does, and ends with all results in order"
        (fun (sizes: FsCheck.NonNegativeInt list) ->
            let sizes = [ for size in sizes -> float (size.Get % 12) ]
            let gate = obj ()
            let state = [| 0.0; 0.0; 0.0 |]

            let act size =
                lock gate (fun () ->
                    state[0] <- state[0] + size
                    state[1] <- state[1] + 1.0
                    state[2] <- if state[1] > 1.0 then max state[2] state[0] else state[2])

                Thread.Sleep 1

                lock gate (fun () ->
                    state[0] <- state[0] - size
                    state[1] <- state[1] - 1.0)

                2.0 * size

            Expect.equal (SideBySide.runWithin 10.0 id 3 act sizes) [ for size in sizes -> 2.0 * size ] "results"
            Expect.isLessThanOrEqual state[2] 10.0 "room")

/// How far above its estimate a peak may be: estimates are fitted to what was measured.
let private above = 7.0 / 6.0

let private estimated =
    testList
        "a layer takes no more memory than the room that is kept for it"
        [
            for family in [ FormatFamily.CP; FormatFamily.TensorChain ] do
                testCase $"{family}" (fun () ->
                    let peaks = "/proc/self/clear_refs"

                    if not (File.Exists peaks) then
                        skiptest "The system does not tell of peaks"

                    use _ = torch.NewDisposeScope()
                    use model = torch.nn.Sequential [| struct ("conv", (torch.nn.Conv2d(256L, 256L, 3L) :> Layer)) |]

                    let options =
                        { CompressionPlan.defaults with
                            Families = [ family ]
                            Ratios = [ 3.0 ]
                            Sweeps = 1
                            KeepFirst = false
                            KeepLast = false
                        }

                    let plan = CompressionPlan.make (Budget.LayerError 1.0) options [ 1L; 256L; 4L; 4L ] model |> ok
                    let few = { ModelCompression.defaults with Sweeps = 2; Corrections = 5 }
                    File.WriteAllText(peaks, "5")
                    let before = Process.GetCurrentProcess().PeakWorkingSet64
                    let report = ModelCompression.run few plan model |> ok
                    let took = Process.GetCurrentProcess().PeakWorkingSet64 - before
                    Expect.equal report.Layers.Count 1 "layers"
                    Expect.isLessThan (float took) (above * WorkMemory.ofChoice plan.Layers[0]) $"bytes of {plan.Layers[0].Choice}")
        ]

let all = testSequenced (testList "memory of work side by side" [ room; estimated ])
